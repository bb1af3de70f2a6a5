//! Programs that are signed on the operator's machine and brought to hosts.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::fleet::{Fleet, GOOD};

impl Fleet {
    /// Makes a program for Windows that the service brings along, and a certificate to sign it.
    fn signs(&self) {
        let script = "echo 'int main(void) { return 0; }' >shop.c &&\n\
            x86_64-w64-mingw32-gcc -Os -s -o shop.exe shop.c &&\n\
            openssl req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -days 2 \
            -subj /CN=Own -addext extendedKeyUsage=codeSigning";
        let mut shell = Command::new("sh");
        let made = shell.args(["-c", script]).current_dir(&self.folder).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        self.release("v1", GOOD);
        let file = self.folder.join("stead.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("\"version\"]", "\"version\", \"shop.exe\"]");
        let sign = "[service.web.sign]\ntool = \"osslsigncode\"\ncertificate = \"own.pem\"\n\
                    key = \"own.key\"\ntrust = \"own.pem\"\n";
        fs::write(file, text + sign).unwrap();
    }

    /// What runs on a host, by the start of its digest.
    fn release_on(&self, n: usize) -> String {
        let status = self.on(n, &["status", "--json"]).stdout;
        let status: Value = serde_json::from_slice(&status).unwrap();
        status["instances"][0]["release"].as_str().unwrap().to_owned()
    }
}

#[test]
fn all_hosts_get_one_signed_copy_and_the_next_deploy_brings_no_other() {
    for program in ["osslsigncode", "openssl", "x86_64-w64-mingw32-gcc"] {
        if Command::new(program).arg("--version").output().is_err() {
            return stead_lab::skipped("signed", &format!("there is no {program}"));
        }
    }
    let Some(fleet) = Fleet::get("signed", 2) else { return };
    fleet.signs();
    let cache = fleet.folder.join("cache");
    let stead = |args: &[&str]| {
        let output = fleet.command(args).env("XDG_CACHE_HOME", &cache).output().unwrap();
        let text = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).concat();
        (output.status.code(), text)
    };
    let (code, said) = stead(&["deploy", "--bake", "0s"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("signed shop.exe of web by osslsigncode").count(), 1, "{said}");
    let first = fleet.release_on(0);
    assert_eq!(fleet.release_on(1), first);
    for n in 0..2 {
        let releases = fs::read_dir(fleet.root(n).join("releases")).unwrap();
        let mut releases = releases.map(|it| it.unwrap().path()).filter(|it| it.is_dir());
        let program = releases.next().unwrap().join("shop.exe");
        let mut tool = Command::new("osslsigncode");
        tool.args(["verify", "-CAfile", "own.pem", "-in"]).arg(program);
        assert!(tool.current_dir(&fleet.folder).output().unwrap().status.success(), "host {n}");
    }
    let (code, said) = stead(&["deploy", "--bake", "0s"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("signed shop.exe"), "{said}");
    assert_eq!([fleet.release_on(0), fleet.release_on(1)], [first.clone(), first]);

    // What is spoiled is told of every host that it would be brought to, and is brought to none.
    assert_eq!(stead(&["check"]).0, Some(0));
    let copy = fs::read_dir(cache.join("stead/signed")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&copy).unwrap();
    bytes[1000] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let (code, said) = stead(&["check"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("`h0`, `h1`: signature"), "{said}");
    let (code, said) = stead(&["deploy", "--bake", "0s"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("the signature of `shop.exe` of service `web`"), "{said}");
}
