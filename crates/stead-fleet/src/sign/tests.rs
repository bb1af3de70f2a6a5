//! What is signed of a release, and what tools go by.

use stead_core::signing::Tool;

use super::*;
use crate::fleet::{Fleet, Os};

const FILES: &str = "files = [\"out/shop.exe\", \"./app/\", \"data.bin\"]\n";
const BY: &str = "tool = \"osslsigncode\", certificate = \"a.pfx\"";

fn text(sign: &str) -> String {
    format!("[service.a]\nrun = [\"./shop.exe\"]\n{FILES}{sign}\n")
}

fn sign(text: &str) -> Sign {
    let fleet = Fleet::parse_on(Os::Linux, text.as_bytes()).unwrap();
    let service = fleet.services().next().unwrap();
    service.program(Os::Linux).unwrap().sign().unwrap().clone()
}

#[test]
fn what_can_hold_a_signature_is_signed_or_what_is_named() {
    let packed = ["app/a.dll", "app/a.txt", "app/sub/b.EXE", "data.bin", "shop.exe"];
    for (files, chosen) in [
        ("", Ok(&["app/a.dll", "app/sub/b.EXE", "shop.exe"][..])),
        (", files = [\"out/shop.exe\"]", Ok(&["shop.exe"])),
        (", files = [\"app\"]", Ok(&["app/a.dll", "app/sub/b.EXE"])),
        (", files = [\"./app/sub/\", \"app/a.dll\"]", Ok(&["app/a.dll", "app/sub/b.EXE"])),
        // What is named itself is meant, whatever its name ends with.
        (", files = [\"data.bin\"]", Ok(&["data.bin"])),
        (", files = [\"out/shop.exe\", \"app/none.dll\"]", Err("`app/none.dll`")),
        (", files = [\"app/su\"]", Err("`app/su`")),
    ] {
        let text = text(&format!("sign = {{ {BY}{files} }}"));
        match (sign(&text).choose(&text, &packed), chosen) {
            (Ok(found), Ok(chosen)) => assert_eq!(found, chosen.iter().copied().collect()),
            (Err(problems), Err(what)) => {
                let problem = problems.iter().next().unwrap();
                assert_eq!(problem.what, format!("nothing of {what} can be signed"));
                assert_eq!(&text[problem.span.clone()], what.replace('`', "\""), "its place");
            }
            (found, _) => panic!("{files}: {found:?}"),
        }
    }
}

#[test]
fn a_release_without_anything_to_sign_is_told_at_the_sign() {
    let text = text(&format!("sign = {{ {BY} }}"));
    let problems = sign(&text).choose(&text, &["data.bin", "shop"]).unwrap_err();
    insta::assert_snapshot!(problems.render("stead.toml", &text, false));
}

#[test]
fn the_sign_of_a_system_takes_the_place_of_the_one_of_the_service() {
    let own = "[service.a.linux]\nsign = { tool = \"signtool\", certificate = \"b.pfx\" }";
    let sign = sign(&text(&format!("sign = {{ {BY} }}\n{own}")));
    let holder = Holder::Pfx("b.pfx".into());
    assert_eq!(sign.signing, Signing { tool: Tool::Signtool { holder }, timestamp: None });
}

#[test]
fn what_a_sign_goes_by_must_be_there() {
    let folder = std::env::temp_dir().join(format!("stead-sign-{}", std::process::id()));
    for name in ["out/shop.exe", "app/a", "data.bin", "keys/a.pem", "keys/a.key"] {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), "").unwrap();
    }
    let check = |files: &str| {
        let text = text(&format!("sign = {{ tool = \"osslsigncode\", {files} }}"));
        let fleet = Fleet::parse_on(Os::Linux, text.as_bytes()).unwrap();
        let checked = fleet.check_files(&text, &folder, crate::Stage::NotBuilt);
        checked.map_err(|problems| {
            let told = problems.iter().map(|it| (it.what.clone(), it.try_this.clone()));
            told.collect::<Vec<_>>()
        })
    };
    let good = "certificate = \"keys/a.pem\", key = \"keys/a.key\"";
    assert_eq!(check(good), Ok(()));
    let what = |field: &str, path: &str| format!("there is no {field} to sign with: `{path}`");
    let bad = "certificate = \"keys/b.pem\", key = \"keys\", trust = \"nowhere/ca.pem\"";
    let told = check(bad).unwrap_err();
    assert_eq!(
        told[0],
        (what("certificate", "keys/b.pem"), "`certificate = \"keys/a.pem\"`".into())
    );
    assert_eq!(told[1].0, what("key", "keys"));
    assert_eq!(told[2].0, what("trust", "nowhere/ca.pem"));
    std::fs::remove_dir_all(folder).unwrap();
}
