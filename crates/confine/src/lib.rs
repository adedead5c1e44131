//! Confinement of a process: probe the host, plan, apply, report.
