//! LLM providers as data: where credentials, model and usage are found.
