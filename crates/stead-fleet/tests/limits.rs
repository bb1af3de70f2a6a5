//! The limits of a fleet file, from both sides, and files that nobody wrote.

use proptest::prelude::*;
use stead_core::names::SecretName;
use stead_core::registry::{TEXT_LEN_MAX, VALUES_MAX};
use stead_fleet::{FILE_BYTES_MAX, Fleet, HOSTS_MAX, PROBLEMS_MAX, Packed, SERVICES_MAX};

fn first_problem(text: &str) -> Option<String> {
    let problems = Fleet::parse(text).err()?;
    assert!(!problems.render("stead.toml", text, true).is_empty());
    let first = problems.iter().next().expect("problems are never empty");
    Some(first.what.clone())
}

#[test]
fn each_limit_is_the_last_that_is_accepted() {
    let service = "[service.a]\nrun = [\"/bin/a\"]\n";
    let file = |bytes_n: usize| format!("{service}{}", "#".repeat(bytes_n - service.len()));
    let many = |table: &str, n: usize, body: &str| {
        (0..n).map(|n| format!("[{table}.x{n}]\n{body}\n")).collect::<String>()
    };
    let services = |n| many("service", n, "run = [\"/bin/a\"]");
    let hosts = |n| many("host", n, "") + service;
    let windows = |values: &str| {
        format!(
            "[host.w]\nos = \"windows\"\n{service}\
             [service.a.windows.registry.'HKLM\\SOFTWARE\\a']\n{values}"
        )
    };
    let values = |n| windows(&(0..n).map(|n| format!("x{n} = {n}\n")).collect::<String>());
    let text = |n| windows(&format!("x = '{}'", "ä".repeat(n)));
    // Each text has its end.
    let list = |n| windows(&format!("x = ['a', '{}']", "a".repeat(n - 3)));
    type File<'a> = &'a dyn Fn(usize) -> String;
    let limits: [(usize, File<'_>, &str); 6] = [
        (FILE_BYTES_MAX, &file, "the file is too large: 1048577 bytes"),
        (SERVICES_MAX, &services, "the fleet has too many services: 501"),
        (HOSTS_MAX, &hosts, "the fleet has too many hosts: 501"),
        (VALUES_MAX, &values, "service `a` has too many values"),
        (TEXT_LEN_MAX, &text, "`service.a.windows.registry.HKLM\\SOFTWARE\\a.x` may not be"),
        (TEXT_LEN_MAX, &list, "`service.a.windows.registry.HKLM\\SOFTWARE\\a.x` may not be"),
    ];
    for (max, file, what) in limits {
        assert_eq!(first_problem(&file(max)), None, "{what}");
        let told = first_problem(&file(max + 1));
        assert!(told.as_ref().is_some_and(|told| told.starts_with(what)), "{told:?}, not {what}");
    }
}

#[test]
fn problems_past_the_limit_are_counted() {
    let text: String = (0..PROBLEMS_MAX + 7).map(|n| format!("a{n} = 1\n")).collect();
    let problems = Fleet::parse(&text).expect_err("no field is known");
    assert_eq!((problems.iter().count(), problems.count()), (PROBLEMS_MAX, PROBLEMS_MAX + 7));
    let end = "stead.toml: 107 problems; nothing was changed; 7 more are not shown\n";
    assert!(problems.render("stead.toml", &text, false).ends_with(end));
}

#[test]
fn depth_ends_in_a_problem_and_not_in_a_full_stack() {
    for (open, n) in [("[", 100_000), ("{a=", 100_000), ("a.", 100_000)] {
        let text = format!("x = {}", open.repeat(n));
        assert!(first_problem(&text).is_some(), "{open}");
        assert!(first_problem(&open.repeat(n)).is_some(), "{open}");
    }
}

#[test]
fn nothing_a_terminal_obeys_is_printed() {
    let text =
        "[service.\"\\u001b]0;x\\u0007\"]\nrun = [\"\\u009b2J{\u{202e}}\"]\n\"a\\u200b\" = 1\n";
    let problems = Fleet::parse(text).expect_err("it is a bad file");
    let shown = problems.render("a\u{1b}b", text, false);
    let obeyed = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    assert_eq!(shown.chars().find(obeyed), None, "{shown:?}");
}

const GOOD: [&str; 3] = [
    include_str!("good/shop.toml"),
    include_str!("good/every-field.toml"),
    include_str!("bad/several.toml"),
];

/// A file of ours with a piece of it replaced by a piece of another, or by odd bytes.
fn any_mutant() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(vec![
        "",
        "\"",
        "{",
        "}",
        "[",
        "]",
        "\n",
        "=",
        ".",
        "0",
        "-1",
        "99999999999999999999",
        "0x",
        "é",
        "\0",
        "\\u0000",
        "1e400",
        "nan",
        "[[a]]",
        "'''",
        "1979-05-27",
        "{port.",
        "true",
        "\u{202e}",
    ]);
    let file = || prop::sample::select(GOOD.to_vec());
    let cut = || any::<prop::sample::Index>();
    let other = (file(), cut(), 0..40_usize).prop_map(|(text, at, len)| {
        let at = at.index(text.len());
        text.as_bytes()[at..(at + len).min(text.len())].to_vec()
    });
    let patch = prop_oneof![odd.prop_map(|odd| odd.as_bytes().to_vec()), other];
    (file(), prop::collection::vec((cut(), 0..12_usize, patch), 1..4)).prop_map(
        |(text, patches)| {
            let mut bytes = text.as_bytes().to_vec();
            for (at, len, patch) in patches {
                let at = at.index(bytes.len());
                let end = (at + len).min(bytes.len());
                bytes.splice(at..end, patch);
            }
            bytes
        },
    )
}

/// Parses, and shows what is wrong or resolves what is right.
fn survives(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Fleet::parse_bytes(bytes) {
        Ok(fleet) => {
            let digest = stead_core::plan::Digest::try_from("0".repeat(64)).expect("it is one");
            let packed = Packed { release: Some(digest.clone()), config: Some(digest.clone()) };
            let releases = fleet.services().map(|s| (s.name().clone(), packed.clone())).collect();
            for host in fleet.hosts() {
                let id = |name: &SecretName| (name.clone(), digest.clone());
                let secrets = fleet.secrets_on(host.name()).into_keys().map(id).collect();
                let plan = fleet.plan(host.name(), &releases, &secrets);
                let json = serde_json::to_string(&plan).expect("a plan is JSON");
                let back = serde_json::from_str(&json).expect("a plan reads what it wrote");
                assert_eq!(plan, back);
            }
        }
        Err(problems) => {
            assert!(problems.count() > 0);
            problems.render("stead.toml", &text, true);
            // Whatever source it is given: the file may have changed since.
            problems.render("stead.toml", "é", false);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&bytes);
    }

    #[test]
    fn any_text_is_survived(text in "[ -~\\n\u{1}é日]{0,200}") {
        survives(text.as_bytes());
    }

    #[test]
    fn any_mutant_of_a_file_is_survived(bytes in any_mutant()) {
        survives(&bytes);
    }
}
