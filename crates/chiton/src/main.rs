//! The thin main: joins the roles, and is the only place that names concrete drivers.

fn main() {}
