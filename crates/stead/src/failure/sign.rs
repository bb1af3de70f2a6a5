//! What can stop the signing of programs.

use std::io;
use std::path::PathBuf;

/// Why programs are not signed, or not well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignFailure {
    #[error("signed copies cannot be kept in `{}`", folder.display())]
    Cache { folder: PathBuf, source: io::Error },
    #[error("the certificate `{}` cannot be read", path.display())]
    Certificate { path: PathBuf, source: io::Error },
    #[error("there is no place for signed copies")]
    NoCache,
    #[error("`{file}` of service `{service}` cannot be signed")]
    Sign {
        file: String,
        service: String,
        tool: &'static str,
        /// The name of the secret that opens the key.
        password: Option<String>,
        why: String,
    },
    #[error("`{tool}` cannot be run, which is to sign")]
    Tool { tool: &'static str, source: io::Error },
    #[error("the signature of `{file}` of service `{service}` does not verify")]
    Verify {
        file: String,
        service: String,
        tool: &'static str,
        why: String,
        /// The copy that was signed before, if it is one.
        copy: Option<PathBuf>,
    },
}

impl SignFailure {
    pub(super) fn because(&self) -> Vec<String> {
        match self {
            Self::Cache { source, .. }
            | Self::Certificate { source, .. }
            | Self::Tool { source, .. } => vec![source.to_string()],
            Self::NoCache => vec!["neither XDG_CACHE_HOME nor HOME is set".into()],
            Self::Sign { tool, why, .. } | Self::Verify { tool, why, .. } => {
                vec![format!("{tool}: {why}")]
            }
        }
    }

    pub(super) fn try_this(&self) -> Option<String> {
        let text = match self {
            Self::Cache { .. } => "a folder that you may write to, in XDG_CACHE_HOME",
            Self::Certificate { .. } => "mend `sign` in the fleet file, or the file",
            Self::NoCache => {
                "set one: a copy that is not kept is signed again by each deploy, as another \
                 release"
            }
            Self::Sign { password: Some(password), .. } => {
                return Some(format!(
                    "see that the secret `{password}` is the password of the key, and the key \
                     that of the certificate; `sign.files` leaves out what the tool does not know"
                ));
            }
            Self::Sign { password: None, .. } => {
                "see that the key is that of the certificate, and open, or name its `password`; \
                 `sign.files` leaves out what the tool does not know"
            }
            Self::Tool { tool, source } if source.kind() == io::ErrorKind::NotFound => {
                return Some(format!("install `{tool}`; it is looked for in PATH"));
            }
            Self::Tool { .. } => return None,
            Self::Verify { copy: Some(copy), .. } => {
                return Some(format!(
                    "`rm '{}'`, and it is signed again; `sign.trust` names the certificates that \
                     are trusted",
                    copy.display()
                ));
            }
            Self::Verify { copy: None, .. } => {
                "`sign.trust` names the certificates that are trusted; nothing was changed"
            }
        };
        Some(text.into())
    }
}
