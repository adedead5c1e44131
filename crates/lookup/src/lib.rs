//! Judges every lookup in a live folder, by seccomp user notification.
