//! What a person sees of a bad fleet file, and that nothing else was wrong with it.
//!
//! A file may end with lines `# twin: OLD => NEW`. With each OLD of them replaced by NEW, where it
//! last occurs, the file is its good twin and must be accepted.

use std::path::Path;

use stead_fleet::{Fleet, Os};

const TWIN: &str = "# twin: ";

/// Files without a good twin: several problems, or no fleet file at all.
const WITHOUT_TWIN: [&str; 5] =
    ["control-characters", "empty", "not-utf8", "several", "syntax-yaml"];

fn seen(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("the file was just listed");
    let text = String::from_utf8_lossy(&bytes);
    let problems = Fleet::parse_on(Os::Linux, &bytes).expect_err("it is a bad file");
    problems.render("stead.toml", &text, false)
}

#[test]
fn a_bad_file_is_explained() {
    insta::glob!("bad/*.toml", |path| insta::assert_snapshot!(seen(path)));
}

#[test]
fn a_bad_file_is_bad_for_the_reason_it_is_kept_for() {
    let mut files_n = 0;
    for entry in Path::new("tests/bad").read_dir().expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("our names are text");
        files_n += 1;
        if WITHOUT_TWIN.contains(&name) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it is text");
        let (body, twins) = text.split_once(TWIN).expect("it has a good twin");
        let mut good = body.to_owned();
        for twin in twins.split(TWIN) {
            let (old, new) = twin.trim_end().split_once(" =>").expect("OLD => NEW");
            let [old, new] = [old, new.trim_start()].map(|side| side.replace("\\n", "\n"));
            let at = good.rfind(&old).unwrap_or_else(|| panic!("{name}: no {old:?}"));
            good.replace_range(at..at + old.len(), &new);
        }
        if let Err(problems) = Fleet::parse_on(Os::Linux, good.as_bytes()) {
            panic!("{name}: its twin is bad too\n{}", problems.render(name, &good, false));
        }
    }
    assert!(files_n >= 60, "only {files_n} bad files are left");
}

#[test]
fn problems_come_in_the_order_of_the_file() {
    let text = std::fs::read_to_string("tests/bad/several.toml").expect("it is there");
    let problems = Fleet::parse_on(Os::Linux, text.as_bytes()).expect_err("it is a bad file");
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(problems.count(), 11, "{places:?}");
}
