//! Signing the programs of a release: copies of them, so that what was built stays as it is.
//!
//! ```text
//!   read ──> choose ──> copy ──tool──> signed ──verified──> kept under its key ──> the release
//! ```
//!
//! A signature holds its time, so what is signed twice would be two releases. The copy is kept by
//! what went into it, and the next deploy takes that one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use stead_core::check::{Signature, SignatureState};
use stead_core::signing::{Word, extension, reason};
use stead_fleet::{Program, Service, Sign};
use stead_release::release::{PackError, Release};
use stead_release::secret::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::cache;
use crate::failure::{Failure, SignFailure};
use crate::fleet_file::{LocalFleet, Part};
use crate::root;
use crate::screen::Screen;
use crate::secrets;

/// A tool may ask a server for the time; one that waits for longer waits for nothing.
const TOOL_WITHIN: Duration = Duration::from_secs(120);

/// So much of what a tool says is looked through for its reason, in bytes of each stream.
const SAID_LEN_MAX: usize = 64 << 10;

/// Signed copies are kept up to so many bytes; what was not used for longest goes first.
const KEPT_LEN_MAX: u64 = 2 << 30;

/// A folder to sign in is left behind by who was killed if it is as old as this.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// What is signed of one release.
struct Job<'a> {
    local: &'a LocalFleet<'a>,
    service: &'a Service,
    sign: &'a Sign,
    kept: PathBuf,
    wanted: Vec<Wanted>,
}

/// A file that is to be signed.
struct Wanted {
    /// Its path in the release.
    path: String,
    from: PathBuf,
    /// The digest of what is in it.
    content: String,
    /// Where the signed copy is, once there is one.
    copy: PathBuf,
}

/// A release with its programs signed, where a deploy has signed them before.
pub(crate) enum Kept {
    Signed(Release),
    /// Something of it is yet to be signed.
    Unsigned,
}

/// The release with its programs signed; itself, if they are not to be.
pub(crate) async fn signed(
    local: &LocalFleet<'_>,
    screen: &mut Screen,
    (service, program): (&Service, &Program),
    release: Release,
) -> Result<Release, Failure> {
    let Some(job) = Job::of(local, service, program, &release)? else { return Ok(release) };
    let (mut password, mut new) = (None, Vec::new());
    for wanted in &job.wanted {
        if wanted.copy.is_file() {
            job.verify(wanted, &wanted.copy, Some(&wanted.copy)).await?;
            // What is used is not what goes first. If it does nevertheless, it is signed anew.
            let touched = File::options().append(true).open(&wanted.copy);
            let _ = touched.and_then(|file| file.set_modified(SystemTime::now()));
            continue;
        }
        if password.is_none() {
            password = job.password().await?;
        }
        job.sign(wanted, password.as_ref()).await?;
        new.push(wanted.path.as_str());
    }
    if !new.is_empty() {
        let tool = job.sign.signing.program();
        screen.note(&format!("signed {} of {} by {tool}", new.join(", "), service.name()));
        let _ = cache::drop_oldest(&job.kept, KEPT_LEN_MAX);
    }
    job.replaced(release)
}

/// The release as [`signed`] would make it, where nothing is left to sign.
pub(crate) fn kept(
    local: &LocalFleet<'_>,
    (service, program): (&Service, &Program),
    release: Release,
) -> Result<Kept, Failure> {
    match Job::of(local, service, program, &release)? {
        None => Ok(Kept::Signed(release)),
        Some(job) if job.wanted.iter().all(|wanted| wanted.copy.is_file()) => {
            job.replaced(release).map(Kept::Signed)
        }
        Some(_) => Ok(Kept::Unsigned),
    }
}

/// How the signatures of a release stand. Nothing is signed for it.
pub(crate) async fn look(
    local: &LocalFleet<'_>,
    (service, program): (&Service, &Program),
    release: &Release,
) -> Result<Vec<Signature>, Failure> {
    let Some(job) = Job::of(local, service, program, release)? else { return Ok(Vec::new()) };
    let tool = job.sign.signing.program();
    let paths = std::env::var("PATH").unwrap_or_default();
    let has_tool = stead_proc::find_program(tool, None, &paths).is_ok();
    let mut found = Vec::new();
    for wanted in &job.wanted {
        let state = match (has_tool, wanted.copy.is_file()) {
            (false, _) => SignatureState::NoTool { tool },
            (true, false) => SignatureState::Unsigned,
            (true, true) => match job.verify(wanted, &wanted.copy, None).await {
                Ok(()) => SignatureState::Verified,
                Err(SignFailure::Verify { why, .. }) => {
                    SignatureState::Bad { why, copy: wanted.copy.display().to_string() }
                }
                Err(other) => return Err(other.into()),
            },
        };
        let (service, file) = (service.name().clone(), wanted.path.clone());
        found.push(Signature { service, file, state });
    }
    Ok(found)
}

impl<'a> Job<'a> {
    fn of(
        local: &'a LocalFleet<'a>,
        service: &'a Service,
        program: &'a Program,
        release: &Release,
    ) -> Result<Option<Self>, Failure> {
        let Some(sign) = program.sign() else { return Ok(None) };
        let kept = cache::folder("signed").ok_or(SignFailure::NoCache)?;
        let packed: Vec<&str> = release.files().map(|(path, ..)| path).collect();
        let chosen = local.file.choose(sign, &packed)?;
        let certificate = sign.signing.certificate().map(|path| local.file.folder().join(path));
        let certificate = certificate.map(|path| digest_of(&path)).transpose()?;
        let chosen = release.files().filter(|(path, ..)| chosen.contains(path));
        let wanted = chosen.map(|(path, content, from, _)| {
            let text = sign.signing.key_text(path, &content, certificate.as_deref());
            let key = blake3::hash(text.as_bytes()).to_hex();
            let copy = kept.join(named(&key, path));
            Wanted { path: path.to_owned(), from: from.to_owned(), content, copy }
        });
        let wanted = wanted.collect();
        Ok(Some(Self { local, service, sign, kept, wanted }))
    }

    async fn password(&self) -> Result<Option<Secret>, Failure> {
        match self.sign.signing.password() {
            Some(name) => secrets::one(self.local.file, name).await.map(Some),
            None => Ok(None),
        }
    }

    /// Signs a copy, and keeps it once its signature verifies.
    async fn sign(&self, wanted: &Wanted, password: Option<&Secret>) -> Result<(), Failure> {
        let signing = &self.sign.signing;
        let place = Place::make(&self.kept, &wanted.copy)?;
        let [copy, signed] = ["copy", "signed"].map(|it| place.0.join(named(it, &wanted.path)));
        self.copy(wanted, &copy)?;
        let told = self.run(&signing.sign_words(), (&copy, &signed), password).await?;
        told.map_err(|why| SignFailure::Sign {
            file: wanted.path.clone(),
            service: self.service.name().to_string(),
            tool: signing.program(),
            password: signing.password().map(ToString::to_string),
            why,
        })?;
        let signed = if signing.is_in_place() { copy } else { signed };
        self.verify(wanted, &signed, None).await?;
        let failed = |source| SignFailure::Cache { folder: self.kept.clone(), source };
        File::open(&signed).and_then(|file| file.sync_all()).map_err(failed)?;
        // Of two that sign the same at a time, both take the one that was first.
        match fs::hard_link(&signed, &wanted.copy) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => Ok(fs::rename(&signed, &wanted.copy).map_err(failed)?),
        }
    }

    /// Copies what was read for the release, and nothing that came after that.
    fn copy(&self, wanted: &Wanted, to: &Path) -> Result<(), Failure> {
        let failed = |source| SignFailure::Cache { folder: self.kept.clone(), source };
        let content = fs::read(&wanted.from);
        let content = content.map_err(|error| PackError::Read(wanted.from.clone(), error));
        let content = content.map_err(|source| self.pack_failure(source))?;
        if blake3::hash(&content).to_hex().as_str() != wanted.content {
            return Err(self.pack_failure(PackError::Changed(wanted.from.clone())));
        }
        Ok(fs::write(to, content).map_err(failed)?)
    }

    async fn verify(
        &self,
        wanted: &Wanted,
        file: &Path,
        kept: Option<&Path>,
    ) -> Result<(), SignFailure> {
        let words = self.sign.signing.verify_words();
        let signing = &self.sign.signing;
        let told = self.run(&words, (file, file), None).await?;
        let told = told.and_then(|said| signing.doubt(&said).map_or(Ok(()), |it| Err(it.into())));
        told.map_err(|why| SignFailure::Verify {
            file: wanted.path.clone(),
            service: self.service.name().to_string(),
            tool: signing.program(),
            why,
            copy: kept.map(Path::to_owned),
        })
    }

    /// Runs the tool, and hands on what it said, or why it failed.
    async fn run(
        &self,
        words: &[Word<'_>],
        (copy, signed): (&Path, &Path),
        password: Option<&Secret>,
    ) -> Result<Result<String, String>, SignFailure> {
        let tool = self.sign.signing.program();
        let folder = self.local.file.folder();
        let mut command = std::process::Command::new(tool);
        for word in words {
            match word {
                Word::Text(text) => command.arg(text),
                Word::Given(path) => command.arg(folder.join(path)),
                Word::Input => command.arg(stead_proc::STANDARD_INPUT),
                Word::Copy => command.arg(copy),
                Word::Signed => command.arg(signed),
            };
        }
        // It asks whoever is at the terminal, where a password is wrong.
        stead_proc::leave_terminal(&mut command);
        let ran = tokio::time::timeout(TOOL_WITHIN, run(command.into(), password)).await;
        let ran = ran.unwrap_or_else(|_| {
            let why = format!("it did not end within {} s", TOOL_WITHIN.as_secs());
            Ok(Err(why))
        });
        ran.map_err(|source| SignFailure::Tool { tool, source })
    }

    fn replaced(&self, release: Release) -> Result<Release, Failure> {
        let copy = |wanted: &Wanted| (wanted.path.clone(), wanted.copy.clone());
        let copies: BTreeMap<_, _> = self.wanted.iter().map(copy).collect();
        release.with_contents(&copies).map_err(|source| self.pack_failure(source))
    }

    fn pack_failure(&self, source: PackError) -> Failure {
        let program = self.local.programs().find(|(it, _)| it.name() == self.service.name());
        let first = program.and_then(|(_, program)| program.files().first());
        let span = first.map_or(0, |file| file.span.start);
        self.local.pack_failure(self.service.name(), Part::Files, span, source)
    }
}

/// A folder to sign in, for as long as this lives.
struct Place(PathBuf);

impl Place {
    fn make(kept: &Path, copy: &Path) -> Result<Self, SignFailure> {
        let failed = |source| SignFailure::Cache { folder: kept.to_owned(), source };
        root::make_folder(kept, root::CLOSED).map_err(failed)?;
        sweep_leftovers(kept);
        let place = Self(copy.with_extension(format!("tmp-{}", std::process::id())));
        let _ = fs::remove_dir_all(&place.0);
        root::make_folder(&place.0, root::CLOSED).map_err(failed)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes folders of those that were killed. Failing to is no harm.
fn sweep_leftovers(kept: &Path) {
    for entry in fs::read_dir(kept).into_iter().flatten().flatten() {
        let there = entry.metadata().ok().filter(fs::Metadata::is_dir);
        let age = there.and_then(|it| it.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age > LEFTOVER_AGE) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A name that ends like the one of the program: tools know scripts by that.
fn named(start: &str, path: &str) -> String {
    extension(path).map_or_else(|| start.to_owned(), |end| format!("{start}.{end}"))
}

fn digest_of(path: &Path) -> Result<String, SignFailure> {
    let read = fs::read(path);
    let failed = |source| SignFailure::Certificate { path: path.to_owned(), source };
    read.map(|bytes| blake3::hash(&bytes).to_hex().to_string()).map_err(failed)
}

/// Runs a tool with a password on its standard input, which nobody else can read.
async fn run(
    mut command: Command,
    password: Option<&Secret>,
) -> io::Result<Result<String, String>> {
    let input = if password.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let told = async {
        if let (Some(mut input), Some(password)) = (input, password) {
            // One that ends without having read it says why by itself.
            let _ = input.write_all(password.value().as_bytes()).await;
        }
    };
    let (_, out, err) = tokio::join!(told, said(out), said(err));
    let status = child.wait().await?;
    let mut text = format!("{}\n{}", out?, err?);
    if let Some(password) = password {
        text = text.replace(password.value(), "…");
    }
    if status.success() {
        return Ok(Ok(text));
    }
    let why = reason(&text);
    Ok(Err(if why.is_empty() { format!("it ended with {status}") } else { why }))
}

/// What comes out of a stream; past a limit it is read and thrown away, so that nobody waits.
async fn said(stream: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut stream) = stream else { return Ok(String::new()) };
    let (mut text, mut chunk) = (Vec::new(), [0; 4 << 10]);
    loop {
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        let room = SAID_LEN_MAX.saturating_sub(text.len());
        text.extend_from_slice(&chunk[..n.min(room)]);
    }
}
