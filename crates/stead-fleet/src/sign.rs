//! How the programs of a service are signed, and which of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stead_core::names::SecretName;
use stead_core::signing::{EXTENSIONS, Holder, Pair, Signing, Tool, can_hold, extension};
use toml::de::DeValue;

use crate::fleet::{Program, ReleaseFile};
use crate::leaf::{FilePath, choice};
use crate::problem::{Problem, Problems, quoted};
use crate::read::{At, Bad, Field, FromText, List, Node, Read, Reader, Span, table};
use crate::service::Part;

/// What a thumbprint has, a SHA-1 in hexadecimal.
const THUMBPRINT_LEN: usize = 40;

/// The ends of the names of files that hold a certificate and its key.
const PFX: [&str; 2] = ["p12", "pfx"];

table! {
    /// How the programs of a release are signed, before its digest is taken. Windows asks who has
    /// made what it runs.
    RawSign, "`sign`", r#"{ tool = "osslsigncode", certificate = "keys/shop.pfx" }"# {
        /// What signs and verifies: `osslsigncode`, or `signtool`.
        tool: SignTool,
        /// Which of the packed files are signed; every `.dll`, `.exe`, `.msi` and `.ps1` among
        /// them, if it is left out. A folder stands for those in it.
        files: List<FilePath>,
        /// The file with the certificate, from the folder of the fleet file on: a PEM, or a PFX
        /// that holds its key, too.
        certificate: FilePath,
        /// The file with the key of a certificate that is a PEM.
        key: FilePath,
        /// The secret that the key is closed with, for `osslsigncode`.
        password: Password,
        /// The certificate in the store of Windows, for `signtool`.
        thumbprint: Thumbprint,
        /// The file with the certificates, in PEM, that are trusted when `osslsigncode` verifies;
        /// those of the system, if it is left out.
        trust: FilePath,
        /// The server that is asked for the time, by RFC 3161, so that signatures outlive their
        /// certificate.
        timestamp: ServerUrl,
        /// The file with the certificates, in PEM, that are trusted when `osslsigncode` verifies
        /// the time; those of the system, if it is left out.
        timestamp_trust: FilePath,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignTool {
    Osslsigncode,
    Signtool,
}

const TOOLS: [(&str, SignTool); 2] =
    [("osslsigncode", SignTool::Osslsigncode), ("signtool", SignTool::Signtool)];

impl FromText for SignTool {
    const WANTED: &'static str = "the name of a tool that signs";
    const EXAMPLE: &'static str = "osslsigncode";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let elsewhere = [("signtool.exe", "signtool"), ("openssl", "osslsigncode")];
        choice(text, &TOOLS, &elsewhere)
    }

    fn text_schema() -> Value {
        json!({ "enum": TOOLS.map(|(word, _)| word) })
    }
}

/// A certificate by the digest that the store of Windows knows it by.
#[derive(Clone, Debug)]
pub(crate) struct Thumbprint(String);

impl FromText for Thumbprint {
    const WANTED: &'static str = "the thumbprint of a certificate";
    const EXAMPLE: &'static str = "0123456789ABCDEF0123456789ABCDEF01234567";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let is_one = |text: &str| {
            text.len() == THUMBPRINT_LEN && text.bytes().all(|it| it.is_ascii_hexdigit())
        };
        if is_one(text) {
            return Ok(Self(text.to_ascii_uppercase()));
        }
        // As Windows shows it, with spaces, or as OpenSSL does.
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let because = format!("it must be {THUMBPRINT_LEN} hexadecimal digits");
        Err(Bad::new(because, is_one(&digits).then_some(digits)))
    }

    fn text_schema() -> Value {
        let pattern = format!("^[0-9A-Fa-f]{{{THUMBPRINT_LEN}}}$");
        json!({ "type": "string", "pattern": pattern, "examples": [Self::EXAMPLE] })
    }
}

/// A server that is asked over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct ServerUrl(String);

impl FromText for ServerUrl {
    const WANTED: &'static str = "the URL of a server";
    const EXAMPLE: &'static str = "http://timestamp.example";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let rest = ["http://", "https://"].iter().find_map(|start| text.strip_prefix(start));
        let odd = |c: char| c.is_whitespace() || c.is_control();
        match rest {
            Some("") => Err(Bad::new("it names no server", None)),
            Some(_) if text.contains(odd) => {
                let meant = text.chars().filter(|c| !odd(*c)).collect();
                Err(Bad::new("a URL holds no spaces or control characters", Some(meant)))
            }
            Some(_) => Ok(Self(text.into())),
            None => {
                let is_bare = !text.is_empty() && !text.contains("://") && !text.contains(odd);
                let meant = is_bare.then(|| format!("http://{text}"));
                Err(Bad::new("it must begin with `http://` or `https://`", meant))
            }
        }
    }
}

table! {
    /// A password, which is a secret.
    RawPassword, "a password", r#"{ secret = "signing" }"# {
        /// The name of the secret.
        secret: SecretName,
    }
}

/// The name of a secret: a password itself does not stand in the file.
#[derive(Clone, Debug)]
pub(crate) struct Password(pub At<SecretName>);

impl Read for Password {
    fn wanted() -> String {
        "the name of a secret".into()
    }

    fn example() -> String {
        RawPassword::example()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        // What stands there may be the password: it is not told again.
        let refuse = |reader: &mut Reader<'_>| {
            let what = format!("`{}` may not be what it is", node.path);
            let because = "a password comes from a secret, so that it stands in no file of yours";
            let try_this = node.with(&Self::example());
            reader.push(Problem::new(node.span.clone(), what, because, try_this));
        };
        let DeValue::Table(_) = node.value else {
            refuse(reader);
            return None;
        };
        match RawPassword::read(node, reader)?.secret {
            Field::Given(at) => Some(Self(at)),
            Field::Bad => None,
            Field::Absent => {
                refuse(reader);
                None
            }
        }
    }

    fn schema() -> Value {
        RawPassword::schema()
    }
}

/// How the programs of a release are signed, and which.
#[derive(Clone, Debug)]
pub struct Sign {
    pub signing: Signing,
    /// Those that are named, with what they are called in the release; none is all.
    files: Vec<ReleaseFile>,
    /// What it goes by: the field, and the file it names.
    pub(crate) goes_by: Vec<(&'static str, At<String>)>,
    service: String,
    span: Span,
}

impl Sign {
    /// Which of the files of a release are signed, by their paths in it. `text` is what the fleet
    /// was parsed from.
    pub fn choose<'a>(
        &self,
        text: &str,
        packed: &[&'a str],
    ) -> Result<BTreeSet<&'a str>, Problems> {
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        let mut problems = Vec::new();
        let can_hold = |path: &&&str| can_hold(path);
        if self.files.is_empty() {
            chosen.extend(packed.iter().filter(can_hold));
        }
        for file in &self.files {
            let below = format!("{}/", file.name);
            let is_it = |path: &&&str| **path == file.name;
            let in_it = packed.iter().filter(|path| path.starts_with(&below)).filter(can_hold);
            let found: Vec<&str> = packed.iter().filter(is_it).chain(in_it).copied().collect();
            if found.is_empty() {
                let what = format!("nothing of `{}` can be signed", quoted(&file.path));
                let because =
                    format!("{} has no such file, and none in it is {}", self.of(), any());
                problems.push(Problem::new(file.span.clone(), what, because, "a file that it has"));
            }
            chosen.extend(found);
        }
        if chosen.is_empty() && problems.is_empty() {
            let what = format!("nothing of service `{}` can be signed", self.service);
            let because = format!("{} has no file that is {}", self.of(), any());
            let try_this = format!(
                "`files` in it with what is to be signed, or `sign` in `[service.{}.windows]` \
                 alone",
                self.service
            );
            problems.push(Problem::new(self.span.clone(), what, because, try_this));
        }
        if problems.is_empty() { Ok(chosen) } else { Err(Problems::of(text, problems)) }
    }

    fn of(&self) -> String {
        format!("the release of `{}`", self.service)
    }
}

/// What can be signed without being named, in a sentence.
fn any() -> String {
    let (last, rest) = EXTENSIONS.split_last().expect("there are some");
    let rest: Vec<String> = rest.iter().map(|end| format!(".{end}")).collect();
    format!("a {} or .{last}", rest.join(", "))
}

impl Program {
    /// How its files are signed, if they are.
    pub fn sign(&self) -> Option<&Sign> {
        self.sign.as_ref()
    }
}

/// Whether a file holds a certificate with its key.
fn is_pfx(file: &FilePath) -> bool {
    extension(&file.0).is_some_and(|end| PFX.contains(&&*end))
}

impl Part<'_, '_, '_> {
    /// How files are signed: `Some(None)` if they are not.
    pub(crate) fn sign(
        &mut self,
        field: &Field<RawSign>,
        files: &[ReleaseFile],
    ) -> Option<Option<Sign>> {
        let At { span, value: raw } = match field {
            Field::Absent => return Some(None),
            Field::Bad => return None,
            Field::Given(at) => at,
        };
        let Some(tool) = raw.tool.value() else {
            if raw.tool.is_absent() {
                let what = format!("`{}` has no `tool`", self.path("sign"));
                let because = "only you know which tool has the key";
                self.say(span, what, because, "`tool = \"osslsigncode\"` or `\"signtool\"`");
            }
            return None;
        };
        let tool = match tool {
            SignTool::Osslsigncode => self.osslsigncode(span, raw),
            SignTool::Signtool => self.signtool(span, raw),
        };
        let chosen = self.chosen(span, raw, files);
        if let (Some(At { span, .. }), true) = (raw.timestamp_trust.at(), raw.timestamp.is_absent())
        {
            let what = format!("`{}` is of no use", self.path("sign.timestamp_trust"));
            let because = "nobody is asked for the time";
            self.say(span, what, because, "`timestamp` with the URL of a server, too");
        }
        let timestamp = raw.timestamp.value().map(|url| url.0.clone());
        let goes_by = [
            ("certificate", &raw.certificate),
            ("key", &raw.key),
            ("trust", &raw.trust),
            ("timestamp_trust", &raw.timestamp_trust),
        ];
        let goes_by = goes_by.into_iter().filter_map(|(field, file)| {
            let At { span, value } = file.at()?;
            Some((field, At { span: span.clone(), value: value.0.clone() }))
        });
        Some(Some(Sign {
            signing: Signing { tool: tool?, timestamp },
            files: chosen?,
            goes_by: goes_by.collect(),
            service: self.name.value.to_string(),
            span: span.clone(),
        }))
    }

    fn osslsigncode(&mut self, span: &Span, raw: &RawSign) -> Option<Tool> {
        if let Some(At { span, .. }) = raw.thumbprint.at() {
            let what = format!("`{}` is not for osslsigncode", self.path("sign.thumbprint"));
            let because = "there is no store of Windows here";
            self.say(span, what, because, "`certificate` with its file");
        }
        let certificate = self.needed(span, &raw.certificate, "certificate", "keys/shop.pfx")?;
        let pair = match (is_pfx(certificate), raw.key.at()) {
            (true, None) => Pair::Pfx(certificate.0.clone()),
            (true, Some(At { span, .. })) => {
                let what = format!("`{}` is one key too many", self.path("sign.key"));
                let because = "a PFX holds the key of its certificate";
                self.say(span, what, because, "leave `key` out");
                return None;
            }
            (false, _) => {
                let key = self.needed(span, &raw.key, "key", "keys/shop.key")?;
                Pair::Pem { certificate: certificate.0.clone(), key: key.0.clone() }
            }
        };
        let is_bad = raw.trust.is_bad() || raw.timestamp_trust.is_bad() || raw.password.is_bad();
        if is_bad || !raw.thumbprint.is_absent() {
            return None;
        }
        let password = raw.password.value().map(|password| password.0.value.clone());
        let file = |field: &Field<FilePath>| field.value().map(|file| file.0.clone());
        let (trust, timestamp_trust) = (file(&raw.trust), file(&raw.timestamp_trust));
        Some(Tool::Osslsigncode { pair, password, trust, timestamp_trust })
    }

    fn signtool(&mut self, span: &Span, raw: &RawSign) -> Option<Tool> {
        let no_key = "a PFX holds its key, and so does the store of Windows";
        let no_password = "it takes one in its arguments alone, where all on the machine see it";
        let no_trust = "it trusts what Windows does";
        let in_store = "the certificate in the store of Windows, and its `thumbprint`";
        let misplaced = [
            ("key", raw.key.at().map(|at| &at.span), no_key, "leave it out"),
            ("password", raw.password.at().map(|at| &at.span), no_password, in_store),
            ("trust", raw.trust.at().map(|at| &at.span), no_trust, "leave it out"),
            (
                "timestamp_trust",
                raw.timestamp_trust.at().map(|at| &at.span),
                no_trust,
                "leave it out",
            ),
        ];
        let mut is_good = true;
        for (field, span, because, try_this) in misplaced {
            let Some(span) = span else { continue };
            is_good = false;
            let what = format!("`{}` is not for signtool", self.path(&format!("sign.{field}")));
            self.say(span, what, because, try_this);
        }
        let holder = match (&raw.thumbprint, &raw.certificate) {
            (Field::Bad, _) | (_, Field::Bad) => return None,
            (Field::Given(print), Field::Absent) => {
                Holder::Store { thumbprint: print.value.0.clone() }
            }
            (Field::Absent, Field::Given(file)) if is_pfx(&file.value) => {
                Holder::Pfx(file.value.0.clone())
            }
            (Field::Absent, Field::Given(file)) => {
                let what = format!("`{}` is no PFX", self.path("sign.certificate"));
                self.say(&file.span, what, "signtool finds the key in the same file", in_store);
                return None;
            }
            (Field::Given(print), Field::Given(_)) => {
                let what = format!("`{}` has two certificates", self.path("sign"));
                self.say(&print.span, what, "one of them signs", "leave one of them out");
                return None;
            }
            (Field::Absent, Field::Absent) => {
                let what = format!("`{}` has no `thumbprint`", self.path("sign"));
                self.say(span, what, "a certificate says who signs", in_store);
                return None;
            }
        };
        is_good.then_some(Tool::Signtool { holder })
    }

    fn needed<'a>(
        &mut self,
        span: &Span,
        field: &'a Field<FilePath>,
        name: &str,
        example: &str,
    ) -> Option<&'a FilePath> {
        if field.is_absent() {
            let what = format!("`{}` has no `{name}`", self.path("sign"));
            let because = "a certificate says who signs, and its key that it is so";
            self.say(span, what, because, &format!("`{name} = \"{example}\"`"));
        }
        field.value()
    }

    /// What is named to be signed, by what it is called in the release.
    fn chosen(
        &mut self,
        span: &Span,
        raw: &RawSign,
        files: &[ReleaseFile],
    ) -> Option<Vec<ReleaseFile>> {
        if files.is_empty() {
            let what = format!("service `{}` has no `files` to sign", self.name.value);
            let because = "what is signed is what a release holds";
            self.say(span, what, because, "`files` of the service, or leave `sign` out");
            return None;
        }
        let list = match &raw.files {
            Field::Absent => return Some(Vec::new()),
            Field::Bad => return None,
            Field::Given(list) => list,
        };
        if list.value.written_n == 0 {
            let what = format!("`{}` names nothing", self.path("sign.files"));
            let because = "`sign` without anything to sign says nothing";
            self.say(&list.span, what, because, "leave it out for all that can be signed");
        }
        let mut chosen = Vec::new();
        for At { span, value: FilePath(path) } in &list.value.items {
            match files.iter().find_map(|file| name_in(path, file)) {
                Some(name) => {
                    chosen.push(ReleaseFile { path: path.clone(), name, span: span.clone() });
                }
                None => {
                    let what = format!("`{}` is to be signed and is not packed", quoted(path));
                    let because = "`files` of the service names nothing that holds it";
                    let packed = files.iter().map(|file| file.path.as_str());
                    let try_this = match self.reader.nearest(path, packed) {
                        Some(near) => format!("`\"{}\"`", quoted(near)),
                        None => "a path as in `files` of the service".into(),
                    };
                    self.say(span, what, because, &try_this);
                }
            }
        }
        (chosen.len() == list.value.written_n && !chosen.is_empty()).then_some(chosen)
    }
}

/// What a path of the fleet file is called in the release, if this is or holds it.
fn name_in(path: &str, packed: &ReleaseFile) -> Option<String> {
    let plain = |path: &str| path.trim_start_matches("./").trim_end_matches('/').to_owned();
    let (path, start) = (plain(path), plain(&packed.path));
    let rest = path.strip_prefix(&start)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", packed.name))
}

#[cfg(test)]
mod tests;
