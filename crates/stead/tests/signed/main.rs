//! Programs that are signed before they are packed, by the real tool.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod clock;
mod place;

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use place::{BY_PEM, BY_PFX, PASSWORD, Place, ended};

/// As [`BY_PEM`], with the key closed.
fn closed() -> String {
    BY_PEM.replace("signer.key", "closed.key")
}

#[test]
fn what_is_packed_is_signed_and_what_was_built_stays_as_it_was() {
    let Some(place) = Place::get("packed") else { return };
    let built = place.folder.join("dist/shop.exe");
    let before = fs::read(&built).unwrap();
    // Control: without `sign` nothing is.
    place.write("");
    let plain = place.release();
    assert_eq!(fs::read(place.packed(&plain, "shop.exe")).unwrap(), before);
    assert!(!place.verifies(&built) && place.kept().is_empty());
    assert_eq!(place.signatures(0), []);

    let closed = closed() + ", password = { secret = \"signing\" }";
    for by in [BY_PEM, BY_PFX, &closed] {
        place.sign_by(by);
        let said = place.up(0);
        assert!(said.contains("signed dist/shop.exe of web by osslsigncode"), "{by}: {said}");
        let signed = place.release();
        assert_ne!(signed, plain);
        assert!(place.verifies(&place.packed(&signed, "shop.exe")), "{by}");
        let readme = fs::read_to_string(place.packed(&signed, "doc/read.me")).unwrap();
        assert_eq!(readme, "nothing to sign\n");
        assert_eq!(fs::read(&built).unwrap(), before, "it was signed itself");
        fs::remove_dir_all(place.folder.join("cache")).unwrap();
    }
}

#[test]
fn the_same_program_is_signed_once_and_another_one_is_another_release() {
    let Some(place) = Place::get("once") else { return };
    place.sign_by(BY_PEM);
    let plan = place.ends(0, &["plan"]);
    assert!(plan.contains("signed by `up`, not by `plan`: web"), "{plan}");
    assert!(place.kept().is_empty(), "a plan signs nothing");
    let first = place.release();
    // Built again in another second: a signature now would hold another time.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = second();
    while second() == before {
        thread::sleep(Duration::from_millis(20)); // bounded poll
    }
    place.compile("one");
    assert!(!place.up(0).contains("signed dist"), "it was signed again");
    assert_eq!(place.release(), first);
    let plan = place.ends(0, &["plan"]);
    assert!(!plan.contains("signed by") && !plan.contains("release"), "{plan}");
    // Control: without what is kept, the same program is another release.
    fs::rename(place.folder.join("cache"), place.folder.join("aside")).unwrap();
    assert_ne!(place.release(), first);
    fs::remove_dir_all(place.folder.join("cache")).unwrap();
    fs::rename(place.folder.join("aside"), place.folder.join("cache")).unwrap();
    assert_eq!(place.release(), first);

    place.compile("two");
    let second = place.release();
    assert_ne!(second, first);
    place.compile("one");
    assert_eq!(place.release(), first, "what was signed before is taken again");
    place.certify();
    let renewed = place.release();
    assert!(renewed != first && renewed != second, "another certificate");
    assert!(place.verifies(&place.packed(&renewed, "shop.exe")));
}

#[test]
fn a_signed_program_with_one_flipped_byte_is_refused_and_named() {
    let Some(place) = Place::get("flipped") else { return };
    place.sign_by(BY_PEM);
    let row = |level: &str, found: &str| (level.to_owned(), found.to_owned());
    let file = "`dist/shop.exe` of web";
    let unsigned = format!("{file} is yet to be signed, which a deploy does");
    assert_eq!(place.signatures(0), [row("ok", &unsigned)]);
    let first = place.release();
    let good = format!("the signature of {file} verifies");
    assert_eq!(place.signatures(0), [row("ok", &good)]);

    let [copy] = place.kept().try_into().unwrap();
    let whole = fs::read(&copy).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&copy, flipped).unwrap();
    let [(level, found)] = place.signatures(6).try_into().unwrap();
    assert_eq!(level, "fail");
    assert!(found.starts_with(&format!("the signature of {file} does not verify: ")), "{found}");
    assert!(found.contains("MISMATCH"), "{found}");
    let mend = format!("`rm '{}'`", copy.display());
    let said = place.ends(6, &["check"]);
    assert!(said.contains("`local`: signature") && said.contains("does not verify"), "{said}");
    let said = place.up(6);
    assert!(said.contains("the signature of `dist/shop.exe` of service `web`"), "{said}");
    assert!(said.contains("MISMATCH") && said.contains(&mend), "{said}");
    // Control: whole again it is fit, and what is told to be tried helps.
    fs::write(&copy, whole).unwrap();
    assert_eq!(place.signatures(0), [row("ok", &good)]);
    assert_eq!(place.release(), first);
    fs::remove_file(&copy).unwrap();
    place.release();
    assert_eq!(place.signatures(0), [row("ok", &good)]);
}

/// Runs the real tool, and writes down what every process on the machine is called with meanwhile.
const WATCHING: &str = "exec 3<&0\n\
    PATH=${PATH#*:} osslsigncode \"$@\" <&3 &\n\
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >>\"$WATCHED\"\n\
    wait $!";

#[test]
fn a_password_reaches_the_tool_and_stands_nowhere_else() {
    let Some(place) = Place::get("password") else { return };
    let (path, watched) = (place.instead("osslsigncode", WATCHING), place.folder.join("watched"));
    let up = |code: i32, password: &str| {
        let mut command = place.command(&["up", "--detach"]);
        command.env("PATH", &path).env("WATCHED", &watched).env("SIGNING", password);
        ended(code, command.output().unwrap())
    };
    let closed = closed() + ", password = { secret = \"signing\" }";
    const WRONG: &str = "herring-4711-signing";
    for by in [BY_PFX, &closed] {
        place.sign_by(by);
        let mut said = up(6, WRONG);
        assert!(said.contains("`dist/shop.exe` of service `web` cannot be signed"), "{said}");
        assert!(said.to_lowercase().contains("password"), "{said}");
        assert!(said.contains("the secret `signing` is the password"), "{said}");
        assert!(place.kept().is_empty(), "what was not signed is kept");
        said += &up(0, PASSWORD);
        let seen = fs::read_to_string(&watched).unwrap();
        // Control: it is seen what tools are called with.
        assert!(seen.contains("-readpass /dev/stdin"), "nothing was seen");
        for secret in [WRONG, PASSWORD] {
            assert!(!said.contains(secret), "{secret}: {said}");
            // What all processes are called with is much, and nobody else's business.
            assert!(!seen.contains(secret), "{secret} is on a command line");
        }
        let grep = Command::new("grep")
            .args(["-rlF", PASSWORD, "root", "cache", "watched"])
            .current_dir(&place.folder)
            .output();
        assert_eq!(String::from_utf8_lossy(&grep.unwrap().stdout), "", "files that hold it");
        fs::remove_dir_all(place.folder.join("cache")).unwrap();
    }
    // Nobody is asked for one that is not needed: what is kept was signed with it.
    up(0, PASSWORD);
    let mut command = place.command(&["up", "--detach"]);
    ended(0, command.env_remove("SIGNING").output().unwrap());
    fs::remove_dir_all(place.folder.join("cache")).unwrap();
    let mut command = place.command(&["up", "--detach"]);
    let said = ended(6, command.env_remove("SIGNING").output().unwrap());
    assert!(said.contains("the secret `signing` has no value"), "{said}");
}

#[test]
fn nobody_at_a_terminal_is_asked_for_a_password_that_was_wrong() {
    let Some(place) = Place::get("terminal") else { return };
    place.sign_by(&format!("{}, password = {{ secret = \"signing\" }}", closed()));
    // Runs a line of the shell with a terminal of its own, and says what was written to it.
    let at_terminal = |line: &str| {
        let line = format!("timeout 5 {line}"); // a prompt would wait for good
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
        let script = script.current_dir(&place.folder).env("SIGNING", "herring");
        let output = script.envs(place.env()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let asks = "Enter PEM pass phrase";
    let said = at_terminal(&format!("{} up --detach", place::stead()));
    assert!(said.contains("cannot be signed") && !said.contains(asks), "{said}");
    // Control: the tool itself asks, where it has a terminal.
    let said = at_terminal(
        "osslsigncode sign -certs keys/signer.pem -key keys/closed.key -pass herring \
         -in dist/shop.exe -out signed.exe",
    );
    assert!(said.contains(asks), "{said}");
}

#[test]
fn what_cannot_be_signed_is_told_before_anything_is_changed() {
    let Some(place) = Place::get("cannot") else { return };
    place.sign_by(BY_PEM);
    fs::write(place.folder.join("dist/text.exe"), "no program\n").unwrap();
    let other = BY_PEM.replace("signer.key", "ca.key");
    let unopened = closed();
    let untrusted = BY_PEM.split(", trust").next().unwrap();
    let with = |files: &str| format!("{BY_PEM}, files = [\"{files}\"]");
    let [exe, text, folder, none] =
        ["dist/shop.exe", "dist/text.exe", "dist/doc", "dist/none.exe"].map(with);
    let of_exe = |by: &str| format!("{by}, files = [\"dist/shop.exe\"]");
    for (by, code, told) in [
        (&*BY_PEM.replace("signer.pem", "singer.pem"), 3, "`certificate = \"keys/signer.pem\"`"),
        (&BY_PEM.replace("osslsigncode", "osslsign"), 3, "`tool = \"osslsigncode\"`"),
        (&folder, 3, "nothing of `dist/doc` can be signed"),
        (&none, 3, "nothing of `dist/none.exe` can be signed"),
        (&text, 6, "`dist/text.exe` of service `web` cannot be signed"),
        (&of_exe(&other), 6, "the key is that of the certificate"),
        (&of_exe(&unopened), 6, "or name its `password`"),
        (&of_exe(untrusted), 6, "`sign.trust` names the certificates that are trusted"),
    ] {
        place.sign_by(by);
        let said = place.up(code);
        assert!(said.contains(told), "{by}: {said}");
        assert!(code != 3 || said.contains("stead.toml:"), "{by}: it has no place: {said}");
        assert!(!place.folder.join("root/releases").exists(), "{by}: something was packed");
        assert!(place.kept().is_empty(), "{by}: {:?}", place.kept());
    }
    // A tool that is not there.
    place.sign_by(&exe);
    let empty = place.folder.join("empty");
    fs::create_dir(&empty).unwrap();
    let said = ended(6, place.command(&["up"]).env("PATH", &empty).output().unwrap());
    assert!(said.contains("`osslsigncode` cannot be run") && said.contains("install"), "{said}");
    // Control: the same with nothing wrong.
    place.release();
}

#[test]
fn a_timestamp_is_asked_for_and_one_that_nobody_trusts_is_refused() {
    let Some(place) = Place::get("clock") else { return };
    let url = format!("http://{}/", clock::start(&place));
    let stamped = format!("{BY_PEM}, timestamp = \"{url}\"");
    place.sign_by(&stamped);
    let said = place.up(6);
    assert!(said.contains("the timestamp does not verify"), "{said}");
    assert!(place.kept().is_empty());
    place.sign_by(&format!("{stamped}, timestamp_trust = \"keys/ca.pem\""));
    let release = place.release();
    let signed = place.packed(&release, "shop.exe");
    assert!(place.verifies(&signed));
    let has_time = |file| fs::read(file).unwrap().windows(5).any(|it| it == b"Clock");
    assert!(has_time(signed), "no timestamp is in it");
    // Control: without `timestamp` there is none, and where no server is, nothing is signed.
    place.sign_by(BY_PEM);
    let release = place.release();
    assert!(!has_time(place.packed(&release, "shop.exe")));
    place.sign_by(&BY_PEM.replace("trust", "timestamp = \"http://127.0.0.1:9/\", trust"));
    assert!(place.up(6).contains("timestamping failed"));
}

/// Stands for `signtool`, of which there is none here: it signs in place, and takes down its words.
const SIGNTOOL: &str = "echo \"$@\" >>\"$TOLD\"\n\
    for last; do :; done\n\
    case $1 in sign) echo signed >>\"$last\";; verify) tail -n1 \"$last\" | grep -qx signed;; esac";

#[test]
fn signtool_is_told_the_thumbprint_and_signs_a_copy_in_place() {
    let Some(place) = Place::get("signtool") else { return };
    let (path, told) = (place.instead("signtool", SIGNTOOL), place.folder.join("told"));
    let thumbprint = "0123456789ABCDEF0123456789ABCDEF01234567";
    place.sign_by(&format!("tool = \"signtool\", thumbprint = \"{thumbprint}\""));
    let before = fs::read(place.folder.join("dist/shop.exe")).unwrap();
    let mut command = place.command(&["up", "--detach"]);
    ended(0, command.env("PATH", &path).env("TOLD", &told).output().unwrap());
    let [copy] = place.kept().try_into().unwrap();
    assert_eq!(fs::read(copy).unwrap(), [&before[..], b"signed\n"].concat());
    assert_eq!(fs::read(place.folder.join("dist/shop.exe")).unwrap(), before);
    let told = fs::read_to_string(&told).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with(&format!("sign /q /fd SHA256 /sha1 {thumbprint} /")), "{told}");
    assert!(lines[1].starts_with("verify /q /pa /"), "{told}");
}
