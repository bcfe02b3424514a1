"""The commands that run a project, report on it, and write what comes out."""

from __future__ import annotations

from . import reports
from .commands import Call
from .project import Project
from .session import Run

__all__ = ["Vivado"]


class Vivado(Project):
    """A session with all commands of the flow."""

    def do_reset_run(self, call: Call) -> None:
        name = self.run(call)
        self.runs[name] = Run(properties=self.runs[name].properties)

    def do_launch_runs(self, call: Call) -> None:
        name = self.run(call)
        if not (self.top and self.wrapped and self.needs_design().valid):
            raise ValueError("The project has no top")
        if "strategy" not in self.runs[name].properties:
            raise ValueError(f"Run {name} has no strategy")
        if name == "impl_1" and self.runs["synth_1"].progress != "100%":
            raise ValueError("synth_1 must be complete before impl_1")
        run = self.runs[name]
        step = call.options.get("to_step")
        if step not in (None, "write_bitstream") or (run.progress != "0%" and step is None):
            raise ValueError(f"Run {name} must be reset first, or has no step {step}")
        run.progress = "42%" if name in self.result.failing else "100%"
        if step == "write_bitstream" and run.progress == "100%":
            run.bitstream = True
            self.run_folder(name).mkdir(parents=True, exist_ok=True)
            (self.run_folder(name) / f"{self.top}.bit").write_bytes(reports.BIT)

    def do_wait_on_run(self, call: Call) -> None:
        self.run(call)

    def do_open_run(self, call: Call) -> None:
        if call.operands != ["impl_1"] or self.runs["impl_1"].progress != "100%":
            raise ValueError(f"Run {call.operands} is not complete")
        self.opened = True

    def _report(self, call: Call, text: str) -> str:
        self.needs_run()
        if "file" in call.options:
            (self.folder / call.options["file"]).write_text(text)
        elif "return_string" in call.options:
            return text
        elif "name" not in call.options:
            raise ValueError("The report would go to the log")
        return ""

    def do_report_timing_summary(self, call: Call) -> str:
        return self._report(call, reports.timing(self.result))

    def do_report_utilization(self, call: Call) -> str:
        return self._report(call, reports.UTILISATION)

    def do_report_power(self, call: Call) -> str:
        return self._report(call, reports.POWER)

    def do_report_route_status(self, call: Call) -> str:
        return self._report(call, reports.route(self.result))

    def do_report_clocks(self, call: Call) -> str:
        return self._report(call, "clocks")

    do_report_clock_utilization = do_report_methodology = do_report_clocks

    def do_check_timing(self, call: Call) -> str:
        if call.options.get("override_defaults") != "no_clock":
            raise ValueError("check_timing knows no such check")
        return self._report(call, reports.unclocked(self.result))

    def do_report_drc(self, call: Call) -> str:
        if call.options.get("ruledecks") != "bitstream_checks":
            raise ValueError(f"There is no ruledeck {call.options.get('ruledecks')}")
        if "name" in call.options:
            self.drc.append(call.options["name"])
        return self._report(call, "rules")

    def do_get_drc_violations(self, call: Call) -> str:
        name, only = call.options["name"], call.options["filter"]
        if name not in self.drc or only != "SEVERITY == Error":
            raise ValueError(f"There are no violations {name} with {only}")
        return " ".join(self.result.violations)

    def do_write_bitstream(self, call: Call) -> None:
        self.needs_run()
        if self.result.violations or self.result.unrouted:
            raise ValueError("ERROR: [DRC RTSTAT-1] Unrouted nets")
        (self.folder / call.operands[0]).write_bytes(reports.BIT)

    def do_write_hw_platform(self, call: Call) -> None:
        self.needs_run()
        if "include_bit" in call.options and not self.runs["impl_1"].bitstream:
            raise ValueError("Unable to get BIT file from implementation run")
        (self.folder / call.operands[0]).write_text("xsa")

    def do_validate_hw_platform(self, call: Call) -> None:
        if not (self.folder / call.operands[0]).exists():
            raise ValueError(f"There is no platform {call.operands[0]}")
