"""The progress bar of a run."""

from __future__ import annotations

from tqdm.auto import tqdm

from flow.kernels.rows import RowSums


class Progress:
    """Progress in flow time; without an end in sight, a line that says how it goes."""

    def __init__(self, on: bool, t_start: float, t_end: float | None) -> None:
        form = "{l_bar}{bar}| t = {n:.4g}/{total:.4g} [{elapsed}<{remaining}{postfix}]"
        if t_end is None:
            form = "{desc}t = {n:.4g} [{elapsed}{postfix}]"
        self._bar = tqdm(initial=t_start, total=t_end, disable=not on, bar_format=form, leave=False)

    def show(self, t: float, step: float, sums: RowSums) -> None:
        """Say where the run is after a step."""
        if not self._bar.disable:
            self._bar.set_postfix_str(
                f"step {step:.2g}, non-zeros per feature {sums.nonzeros.mean():.4g}, "
                f"largest |dW/dt| {sums.violation.max():.1e}",
                refresh=False,
            )
            self._bar.update(t - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
