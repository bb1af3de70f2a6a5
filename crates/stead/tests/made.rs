//! What the program writes about itself.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::process::Command;

fn stead(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stead")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn there_is_a_completion_script_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(stead(&["completions", shell]).contains("restart"), "{shell}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    assert!(stead(&["man"]).contains(".TH stead 1"));
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("man-{}", std::process::id()));
    stead(&["man", folder.to_str().unwrap()]);
    for page in ["stead.1", "stead-up.1", "stead-logs.1", "stead-agent-status.1"] {
        assert!(folder.join(page).is_file(), "{page}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_hidden_commands_print_what_other_programs_read() {
    for command in ["schema", "openapi"] {
        let text = stead(&[command]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value.is_object(), "{command}");
    }
}
