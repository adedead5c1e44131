//! The ComputeDriver trait, its types, and the conformance suite.
