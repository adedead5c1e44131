//! The main job: real programs, not written by us, under the reference policy or a narrow variation of it.

mod agents;
mod aws;
mod bedrock;
mod credentials;
mod curl;
mod forward;
mod git;
mod internal;
mod limits;
mod models;
mod packages;
mod postgres;
mod real_model;
mod rusty_vault;
mod sdks;
mod server;
mod signed;
mod stolen;
mod tcp;
mod trust;
mod vault;
