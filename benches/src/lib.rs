//! Figures for docs/performance.md.
