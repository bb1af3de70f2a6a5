//! What a service's sandbox lets through: the single values, and the whole.

use serde_json::{Value, json};
use stead_core::sandbox::{CAPABILITIES, Capability, DENIED_SYSCALLS, Loosened, Sandbox};
use stead_core::template::Template;

use crate::raw::{RawLoosened, RawSandbox};
use crate::read::{At, Bad, Field, FromText, List};
use crate::suggest::nearest;

/// A sandbox with the texts of its paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetLoosened {
    pub read: Vec<String>,
    pub write: Vec<String>,
    pub capabilities: Vec<Capability>,
    pub syscalls: Vec<String>,
    pub shared_tmp: bool,
    pub any_files: bool,
    pub any_signals: bool,
}

impl FleetLoosened {
    /// As a spec has it; `fill` makes templates of texts.
    pub(crate) fn filled(&self, fill: impl Fn(&[String]) -> Vec<Template>) -> Sandbox {
        Sandbox::On(Loosened {
            read: fill(&self.read),
            write: fill(&self.write),
            capabilities: self.capabilities.clone(),
            syscalls: self.syscalls.clone(),
            shared_tmp: self.shared_tmp,
            any_files: self.any_files,
            any_signals: self.any_signals,
        })
    }
}

/// What the file says of it; `None` is off.
pub(crate) fn sandbox(raw: &Field<RawSandbox>) -> Option<FleetLoosened> {
    let loosened = match raw.value() {
        Some(RawSandbox::Off) => return None,
        Some(RawSandbox::On(loosened)) => loosened,
        None => return Some(FleetLoosened::default()),
    };
    let RawLoosened { read, write, capabilities, syscalls, tmp, files, signals } = &**loosened;
    let paths = |list: &Field<List<AbsolutePath>>| {
        items(list).iter().map(|path| path.value.0.clone()).collect()
    };
    Some(FleetLoosened {
        read: paths(read),
        write: paths(write),
        capabilities: items(capabilities).iter().map(|it| it.value).collect(),
        syscalls: items(syscalls).iter().map(|it| it.value.0.clone()).collect(),
        shared_tmp: tmp.value().is_some_and(|tmp| *tmp == TmpKind::Shared),
        any_files: files.value().is_some_and(|files| *files == Strictness::Any),
        any_signals: signals.value().is_some_and(|signals| *signals == Strictness::Any),
    })
}

fn items<T>(list: &Field<List<T>>) -> &[At<T>] {
    list.value().map_or(&[], |list| &list.items)
}

/// A path that begins somewhere: at the root or at a place.
#[derive(Clone, Debug)]
pub(crate) struct AbsolutePath(pub String);

impl FromText for AbsolutePath {
    const WANTED: &'static str = "an absolute path";
    const EXAMPLE: &'static str = "/srv/maps";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.contains('\0') {
            return Err(Bad::new("a path holds no NUL byte", None));
        }
        let places = ["/", "{data}", "{tmp}", "{release}"];
        if !places.iter().any(|start| text.starts_with(start)) {
            let because = "it begins nowhere: `/` or a place like {data} must come first";
            let meant = format!("/{}", text.trim_start_matches("./"));
            return Err(Bad::new(because, (!text.is_empty()).then_some(meant)));
        }
        Ok(Self(text.into()))
    }
}

impl FromText for Capability {
    const WANTED: &'static str = "the name of a capability";
    const EXAMPLE: &'static str = "NET_RAW";

    fn from_text(text: &str) -> Result<Self, Bad> {
        text.parse().map_err(|_| {
            let upper = text.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let meant = nearest(bare, CAPABILITIES.iter().copied());
            Bad::new("the kernel has no such capability", meant.map(Into::into))
        })
    }

    fn text_schema() -> Value {
        json!({ "enum": CAPABILITIES.as_slice() })
    }
}

/// A system call that is denied unless it is named.
#[derive(Clone, Debug)]
pub(crate) struct SyscallName(pub String);

impl FromText for SyscallName {
    const WANTED: &'static str = "the name of a system call";
    const EXAMPLE: &'static str = "ptrace";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if DENIED_SYSCALLS.contains(&text) {
            return Ok(Self(text.into()));
        }
        let near = nearest(text, DENIED_SYSCALLS.iter().copied());
        let because = "it is none of those that are denied, so there is nothing to let through";
        Err(Bad::new(because, near.map(Into::into)))
    }

    fn text_schema() -> Value {
        json!({ "enum": DENIED_SYSCALLS.as_slice() })
    }
}

macro_rules! words {
    ($(
        $(#[doc = $doc:literal])+
        $kind:ident, $wanted:literal, [$($variant:ident = $word:literal),+];
    )+) => {
        $($(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum $kind {
            $($variant,)+
        }

        impl FromText for $kind {
            const WANTED: &'static str = $wanted;
            const EXAMPLE: &'static str = [$($word),+][0];

            fn from_text(text: &str) -> Result<Self, Bad> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => {
                        let near = nearest(text, [$($word),+].into_iter());
                        let because = concat!("the words for it are", $(" `", $word, "`"),+);
                        Err(Bad::new(because, near.map(Into::into)))
                    }
                }
            }

            fn text_schema() -> Value {
                json!({ "enum": [$($word),+] })
            }
        })+
    };
}

words! {
    /// Whose `/tmp` a service sees.
    TmpKind, "`private` or `shared`", [Shared = "shared", Private = "private"];
    /// Whether a part of the sandbox holds.
    Strictness, "`strict` or `any`", [Any = "any", Strict = "strict"];
}
