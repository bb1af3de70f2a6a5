//! A fleet on this machine with a program for Windows in it, and all it takes to sign that.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What builds the program.
const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// What opens the key. In one piece it stands nowhere but where the test puts it.
pub(crate) const PASSWORD: &str = "swordfish-0815-signing";

/// A signature by a PEM and its key, that verifies by the certificate which that is of.
pub(crate) const BY_PEM: &str = "tool = \"osslsigncode\", certificate = \"keys/signer.pem\", \
                                 key = \"keys/signer.key\", trust = \"keys/ca.pem\"";

/// The same by a PFX, which is closed.
pub(crate) const BY_PFX: &str = "tool = \"osslsigncode\", certificate = \"keys/signer.pfx\", \
                                 password = { secret = \"signing\" }, trust = \"keys/ca.pem\"";

pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    root: PathBuf,
    keeper: PathBuf,
}

impl Place {
    /// Nothing, where this machine lacks what it takes.
    pub(crate) fn get(test: &str) -> Option<Self> {
        let lacking = |program: &&str| Command::new(program).arg("--version").output().is_err();
        let lacking: Vec<_> =
            ["osslsigncode", "openssl", COMPILER].into_iter().filter(lacking).collect();
        if !lacking.is_empty() {
            stead_lab::skipped(test, &format!("there is no {}", lacking.join(", ")));
            return None;
        }
        let built = Path::new(env!("CARGO_BIN_EXE_stead")).with_file_name("stead-keeper");
        let keeper = std::env::var_os("STEAD_KEEPER_BIN").map_or(built, PathBuf::from);
        assert!(keeper.is_file(), "no keeper: `cargo xtask test` builds one");
        let folder =
            std::env::temp_dir().join(format!("stead-signed-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for name in ["dist/doc", "keys"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("dist/doc/read.me"), "nothing to sign\n").unwrap();
        let place = Self { root: folder.join("root"), folder, keeper };
        place.compile("one");
        place.certify();
        Some(place)
    }

    /// Builds the program, which says this.
    pub(crate) fn compile(&self, says: &str) {
        let source = format!("#include <stdio.h>\nint main(void) {{ puts(\"{says}\"); }}\n");
        fs::write(self.folder.join("shop.c"), source).unwrap();
        // Without a time in it, the same source is the same program.
        let flags = ["-Os", "-s", "-Wl,--no-insert-timestamp", "-o", "dist/shop.exe", "shop.c"];
        self.run(COMPILER, &flags);
    }

    /// Makes a certificate of a made-up authority, with its key as a PEM, a closed PEM and a PFX.
    pub(crate) fn certify(&self) {
        let ext = "extendedKeyUsage=codeSigning\nkeyUsage=critical,digitalSignature\n";
        fs::write(self.folder.join("keys/ext"), ext).unwrap();
        for line in [
            "req -x509 -newkey rsa:2048 -nodes -keyout keys/ca.key -out keys/ca.pem -days 2 \
             -subj /CN=Authority",
            "req -newkey rsa:2048 -nodes -keyout keys/signer.key -out keys/signer.csr \
             -subj /CN=Signer",
            "x509 -req -in keys/signer.csr -CA keys/ca.pem -CAkey keys/ca.key -CAcreateserial \
             -days 2 -extfile keys/ext -out keys/signer.pem",
            "pkcs12 -export -in keys/signer.pem -inkey keys/signer.key -out keys/signer.pfx \
             -passout PASSWORD",
            "rsa -in keys/signer.key -aes256 -passout PASSWORD -out keys/closed.key",
        ] {
            self.openssl(line);
        }
    }

    /// Runs it with these words.
    pub(crate) fn openssl(&self, line: &str) {
        let password = format!("pass:{PASSWORD}");
        let word = |it| if it == "PASSWORD" { password.as_str() } else { it };
        let words: Vec<_> = line.split_whitespace().map(word).collect();
        self.run("openssl", &words);
    }

    fn run(&self, program: &str, args: &[&str]) {
        let output = Command::new(program).args(args).current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
    }

    /// The fleet file with these fields of its service, and a secret that is in a variable.
    pub(crate) fn write(&self, fields: &str) {
        let text = format!(
            "name = \"shop\"\n[secret.signing]\nenv = \"SIGNING\"\n[service.web]\n\
             run = [\"sleep\", \"1000\"]\nfiles = [\"dist/\"]\n{fields}\n"
        );
        fs::write(self.folder.join("stead.toml"), text).unwrap();
    }

    pub(crate) fn sign_by(&self, by: &str) {
        self.write(&format!("sign = {{ {by} }}"));
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(stead());
        command.args(args).current_dir(&self.folder).stdin(Stdio::null());
        command.envs(self.env()).env("SIGNING", PASSWORD);
        command
    }

    /// Where a command has its root, its keeper and its cache.
    pub(crate) fn env(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("STEAD_ROOT", self.root.clone()),
            ("STEAD_KEEPER_BIN", self.keeper.clone()),
            ("XDG_CACHE_HOME", self.folder.join("cache")),
        ]
    }

    /// Runs it and expects this exit code; says what it wrote.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> String {
        ended(code, self.command(args).output().unwrap())
    }

    #[track_caller]
    pub(crate) fn up(&self, code: i32) -> String {
        self.ends(code, &["up", "--detach"])
    }

    /// The digest of the release that runs, after an `up`.
    #[track_caller]
    pub(crate) fn release(&self) -> String {
        self.up(0);
        let status = self.command(&["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["instances"][0]["release"].as_str().unwrap().to_owned()
    }

    /// A file of a release that was packed, by the start of its digest.
    pub(crate) fn packed(&self, release: &str, file: &str) -> PathBuf {
        let all = fs::read_dir(self.root.join("releases")).unwrap().map(|it| it.unwrap());
        let mut named = all.filter(|it| it.file_name().to_str().unwrap().starts_with(release));
        named.find(|it| it.path().is_dir()).unwrap().path().join("dist").join(file)
    }

    /// The signatures that a check tells of, each with its level.
    #[track_caller]
    pub(crate) fn signatures(&self, code: i32) -> Vec<(String, String)> {
        let output = self.command(&["check", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = checked["hosts"]["local"]["findings"].as_array().unwrap();
        let of = all.iter().filter(|finding| finding["check"] == "signature");
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        of.map(|finding| (text(&finding["level"]), text(&finding["found"]))).collect()
    }

    /// The signed copies that are kept.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.folder.join("cache/stead/signed"));
        let mut all: Vec<_> = all.into_iter().flatten().map(|it| it.unwrap().path()).collect();
        all.sort();
        all
    }

    /// Whether the real tool finds a good signature in a file.
    pub(crate) fn verifies(&self, file: &Path) -> bool {
        let mut tool = Command::new("osslsigncode");
        tool.args(["verify", "-CAfile", "keys/ca.pem", "-in"]).arg(file);
        tool.current_dir(&self.folder).output().unwrap().status.success()
    }

    /// Puts a program of this name before all others in a PATH, and says that.
    pub(crate) fn instead(&self, name: &str, script: &str) -> String {
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let script = format!("#!/bin/sh\n{script}\n");
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
    }
}

/// The program itself: as it ships if whoever runs the tests has built it.
pub(crate) fn stead() -> String {
    std::env::var("STEAD_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_stead").into())
}

#[track_caller]
pub(crate) fn ended(code: i32, output: Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    format!("{out}{err}")
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.command(&["down"]).output();
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
