//! Secret values that cannot be printed, and the references that name them.
