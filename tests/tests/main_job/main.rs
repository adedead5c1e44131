//! The main job: real programs, not written by us, under the reference policy or a narrow variation of it.

mod agents;
mod aws;
mod credentials;
mod curl;
mod forward;
mod git;
mod internal;
mod models;
mod packages;
mod postgres;
mod sdks;
mod server;
mod tcp;
mod trust;
mod vault;
