"""Build the Cython extensions; everything else stands in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent
SANITIZE = os.environ.get("FASTCAP_SANITIZE", "")  # "address,undefined" or "thread"

COMPILE = ["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"]
# What Cython's own generated C trips over with -Wextra; our headers stay under the full set.
COMPILE += ["-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
COMPILE += ["-Wno-unused-function", "-Wno-deprecated-declarations", "-Wno-sign-compare"]
# Results must be the same at every instruction level: nothing is fused, nothing asked of errno or traps.
OF_ITS_OWN = {"fastcap._decode": ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-pthread"]}
LINK: list[str] = []
HEADERS = {p.name: p.read_text() for p in (HERE / "src/fastcap").glob("*.h")}
if SANITIZE:
    COMPILE += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]
    LINK += [f"-fsanitize={SANITIZE}"]


def headers_in(text: str) -> set[str]:
    """Return the package's headers that a source names in quotes, and those that these include."""
    found = {header for header in HEADERS if f'"{header}"' in text}
    return found.union(*(headers_in(HEADERS[header]) for header in found))


def cython_source(relative: str) -> str:
    """Return a .pyx with the declarations that it cimports, or that are its own."""
    text = (HERE / f"src/{relative}.pyx").read_text()
    declared = [
        p
        for p in (HERE / "src").rglob("*.pxd")
        if f"{p.stem} cimport" in text or p.stem == Path(relative).name
    ]
    return "\n".join([text, *(p.read_text() for p in declared)])


def extension(name: str) -> Extension:
    """Describe the extension of one .pyx below src/fastcap."""
    relative = name.replace(".", "/")
    return Extension(
        name,
        [f"src/{relative}.pyx"],
        include_dirs=["src/fastcap"],
        depends=sorted(f"src/fastcap/{header}" for header in headers_in(cython_source(relative))),
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=COMPILE + OF_ITS_OWN.get(name, []),
        extra_link_args=LINK,
    )


def extensions() -> list[Extension]:
    """Describe every .pyx of the package."""
    root = HERE / "src"
    names = sorted(str(p.relative_to(root).with_suffix("")).replace("/", ".") for p in root.rglob("*.pyx"))
    return [extension(n) for n in names]


setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=cythonize(
        extensions(),
        include_path=["src"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "embedsignature": True,
            "warn.undeclared": False,
        },
    ),
)
