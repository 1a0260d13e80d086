"""What a machine says about itself while it works: clocks, temperatures, throttling, load, memory."""

from ptp_runtime.sensors.linux import LinuxSensors
from ptp_runtime.sensors.nvml import DeviceReading, NvmlSensors, open_nvml
from ptp_runtime.sensors.reading import MachineReading

__all__ = ["DeviceReading", "LinuxSensors", "MachineReading", "NvmlSensors", "open_nvml"]
