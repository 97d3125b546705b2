"""The lab's devices beside the board: attenuator, laser, anything that speaks SCPI or is a command.

A device is driven through `fastcap.devices.setting.Setting`: a quantity that can be set, is read back, and has
limits. Nothing here knows of captures or of the ring.
"""
