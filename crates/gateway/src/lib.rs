//! The control plane: sandboxes, policy revisions, credentials, audit.
