//! What can go wrong when the gateway is asked for something, and how it is told.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use chiton_api::{
    http::{PROBLEM_JSON, Problem, ProblemKind},
    name::NameError,
};
use chiton_driver::DriverError;
use chiton_store::StoreError;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};

use crate::{audit::AuditError, config::ConfigError};

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// It is not of the promised form.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such thing.
    #[error("no {what} `{name}`")]
    NotFound {
        /// `secret`, `route`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// The sandbox does not run, and has to.
    #[error("sandbox `{name}` is {state}")]
    WrongState {
        /// Its name.
        name: String,
        /// Where it stands.
        state: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Known, but not there yet.
    #[error("not supported yet: {0}")]
    NotSupported(String),
    /// A backend that a policy alone cannot open.
    #[error(
        "route `{route}` leads to `{url}`, which is in the clear or on this machine: the operator opens it with \
        `[llm] allow = [\"{url}\"]` in config.toml"
    )]
    BackendClosed {
        /// Of the policy.
        route: chiton_policy::RuleName,
        /// Where it leads.
        url: chiton_policy::BaseUrl,
    },
    /// The document does not load.
    #[error("the policy is not valid: {0}")]
    PolicyInvalid(String),
    /// The static half of what is applied is another.
    #[error("the static half of a policy is fixed when the sandbox is created, and this one differs")]
    StaticDiffers(Vec<String>),
    /// A reference does not resolve, or the local store does not open.
    #[error("{message}")]
    Secret {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A path cannot be used.
    #[error("{0}")]
    Path(String),
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The driver, the supervisor or the proxy.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The sandbox's authority.
    #[error(transparent)]
    Tls(#[from] chiton_tls::TlsError),
    /// The proxy did not take a revision.
    #[error("the proxy did not take the new revision, the one before stays: {0}")]
    NotApplied(String),
    /// A system call of ours failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It runs no more, and its record cannot say so.
    #[error("sandbox `{0}` has ended, and that waits to be written down: the database does not take it")]
    EndNotKept(String),
    /// A task of ours ended in its midst.
    #[error("the gateway dropped the task; its log says why")]
    Lost,
}

impl GatewayError {
    fn kind(&self) -> ProblemKind {
        match self {
            Self::BadRequest(_) | Self::Name(_) => ProblemKind::BadRequest,
            Self::NotFound { .. } | Self::Store(StoreError::NotFound(_)) => ProblemKind::NotFound,
            Self::Store(StoreError::NameInUse(_)) => ProblemKind::NameInUse,
            Self::WrongState { .. } | Self::Store(StoreError::WrongState { .. }) => ProblemKind::WrongState,
            Self::Driver(DriverError::NotRunning(_)) => ProblemKind::WrongState,
            Self::NotSupported(_) | Self::Config(ConfigError::NotSupported(_)) => ProblemKind::NotSupported,
            Self::PolicyInvalid(_) | Self::BackendClosed { .. } => ProblemKind::PolicyInvalid,
            Self::StaticDiffers(_) => ProblemKind::StaticDiffers,
            Self::Secret { .. } => ProblemKind::Secret,
            Self::Path(_) => ProblemKind::Path,
            Self::Config(_) => ProblemKind::Configuration,
            Self::Audit(_) => ProblemKind::Audit,
            Self::Driver(_) | Self::NotApplied(_) => ProblemKind::Driver,
            Self::Store(_) | Self::Tls(_) | Self::Io { .. } | Self::EndNotKept(_) | Self::Lost => {
                ProblemKind::Internal
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::WrongState { hint, .. } => hint,
            Self::Secret { hint, .. } => return hint.clone(),
            Self::StaticDiffers(_) => {
                "leave the static half out, or use `chiton policy apply --recreate`, which stops the sandbox and makes it again"
            }
            Self::Store(StoreError::NotFound(_)) => "`chiton ps --all` lists the sandboxes",
            Self::Store(StoreError::NameInUse(_)) => {
                "choose another with `-n`, or remove that sandbox with `chiton rm`"
            }
            Self::Store(StoreError::WrongState { .. }) | Self::Driver(DriverError::NotRunning(_)) => {
                "`chiton ps --all` says where each sandbox stands"
            }
            Self::PolicyInvalid(_) => "`chiton policy check FILE` shows every error with its place",
            Self::Audit(AuditError::Write(_)) | Self::EndNotKept(_) => {
                "free space on the disk of the state folder"
            }
            Self::Audit(AuditError::ChainerEnded) => {
                "it is begun anew by itself; what happened is in the gateway's log, `gateway.log` in the state folder"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// As it is told.
    pub(crate) fn problem(&self) -> Problem {
        let kind = self.kind();
        let exit_status = match self {
            Self::Driver(DriverError::Failed(failure)) => failure.status,
            _ => 125,
        };
        let differing = match self {
            Self::StaticDiffers(fields) => fields.clone(),
            _ => Vec::new(),
        };
        let detail = one_line(&self.to_string());
        Problem { kind, status: status(kind).as_u16(), detail, hint: self.hint(), exit_status, differing }
    }
}

/// The HTTP status of a kind.
fn status(kind: ProblemKind) -> StatusCode {
    match kind {
        ProblemKind::BadRequest => StatusCode::BAD_REQUEST,
        ProblemKind::NotFound => StatusCode::NOT_FOUND,
        ProblemKind::NameInUse | ProblemKind::WrongState | ProblemKind::StaticDiffers => StatusCode::CONFLICT,
        ProblemKind::NotSupported | ProblemKind::PolicyInvalid | ProblemKind::Secret | ProblemKind::Path => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ProblemKind::Configuration | ProblemKind::Driver | ProblemKind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        ProblemKind::Audit => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// Messages can hold what others said; a line they stay.
pub(crate) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        if problem.kind == ProblemKind::Internal {
            tracing::error!(error = %self, "a request failed");
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}
