//! Black-box tests, by promise.
