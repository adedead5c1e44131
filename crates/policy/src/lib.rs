//! The policy language: document, model, compilation and the pure decision.
