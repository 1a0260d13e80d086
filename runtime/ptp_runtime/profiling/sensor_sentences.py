"""What the sensors showed while measuring, in words: whether the machine held still."""

from __future__ import annotations

from ptp_runtime.profiling.measure import Measurement


def sensor_sentences(measured: Measurement) -> list[str]:
    """One sentence for each thing that this machine shows; those that it does not show are named at the end."""
    last = measured.windows[-1].machine
    seconds = max(measured.windows[-1].start, 1e-3)
    found, lacking = [], []
    clocks = [window.machine.clock_mhz for window in measured.windows if window.machine.clock_mhz is not None]
    if clocks:
        limit = "" if last.clock_limit_mhz is None else f" of at most {last.clock_limit_mhz:.0f}"
        found.append(f"slowest core {min(clocks):.0f} to {max(clocks):.0f} MHz{limit}")
    else:
        lacking.append("clocks")
    hot = [window.machine.temperature_c for window in measured.windows if window.machine.temperature_c is not None]
    if hot:
        found.append(f"hottest sensor {min(hot):.0f} to {max(hot):.0f} °C")
    else:
        lacking.append("temperatures")
    before = measured.before
    if last.throttle_events is None or before.throttle_events is None:
        lacking.append("throttling")
    else:
        found.append(f"cores throttled by heat {last.throttle_events - before.throttle_events} times")
    for what, now, then in (
        ("held back by the container's quota for", last.quota_throttled_ms, before.quota_throttled_ms),
        ("cores given to others by the hypervisor for", last.steal_ms, before.steal_ms),
        ("some task waited for a processor for", last.waiting_ms, before.waiting_ms),
    ):
        if now is not None and then is not None:
            found.append(f"{what} {now - then:.0f} ms ({(now - then) / seconds / 10:.1f} % of the time)")
    if last.load is not None:
        found.append(f"load {last.load:.1f}")
    for number, device in enumerate(measured.windows[-1].devices):
        series = [window.devices[number] for window in measured.windows if len(window.devices) > number]
        reasons = sorted({reason for one in series for reason in one.throttled})
        speed = [one.clock_mhz for one in series if one.clock_mhz is not None]
        clock = f", {min(speed):.0f} to {max(speed):.0f} MHz" if speed else ""
        warm = f", {device.temperature_c:.0f} °C" if device.temperature_c is not None else ""
        found.append(f"{device.name}{clock}{warm}, held back by {' and '.join(reasons) or 'nothing'}")
    if lacking:
        found.append(f"this machine shows no {', '.join(lacking)}")
    return found
