//! Where credentials come from: the local encrypted store, the environment, files.
