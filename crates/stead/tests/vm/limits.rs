//! Limits that systemd and the kernel keep.

use crate::place::{PROGRAMS, Place, until};

const EAT: &str = r#"["perl", "-e", "$x = 'a' x (200 << 20); print 'ate'; sleep 1000"]"#;

#[test]
fn limits_of_every_kind_are_hit_and_named() {
    let Some(place) = Place::get("limits_of_every_kind_are_hit_and_named") else { return };
    let fleet = format!(
        r#"
[service.memory]
run = {EAT}
restart = "never"
limits.memory = "64MiB"
[service.unlimited]
run = {EAT}
[service.cpu]
run = ["/bin/sh", "-c", "while :; do :; done"]
limits.cpu = "200m"
[service.processes]
run = ["perl", "-e", "for (1..40) {{{{ $p = fork; sleep 999 if defined $p && !$p }}}} sleep"]
limits.processes = 20
[service.files]
run = ["perl", "-e", "for (1..99) {{{{ open($f[$_], '<', '/dev/null') or warn $! }}}} sleep"]
limits.files = 32
"#
    );
    // One of them fails, as it should.
    place.sh(&format!("cat > /srv/stead.toml <<'END'\n{fleet}\nEND"));
    place.sh(&format!("{PROGRAMS}/stead up --detach /srv/stead.toml || [ $? = 5 ]"));
    let why = place.until_why("memory.0", "out of memory at its limit of 64MiB");
    assert!(why.contains("limits.memory"), "{why}");
    let exit = place.instance("memory.0")["last_exit"]["reason"].to_string();
    assert_eq!(exit, "\"killed by SIGKILL, out of memory\"");
    place.until_why("cpu.0", "at its limit of 200m");
    place.until_why("processes.0", "refused at its limit of 20");
    place.until_why("files.0", "as many files open as it may, 32");
    assert!(place.stead("logs files").contains("Too many open files"));
    // Control: the same without a limit.
    assert_eq!(place.instance("unlimited.0")["phase"], "up");
    assert!(!place.stead("why unlimited.0").contains("limits."));
    let kinds = place.stead("events --json");
    let hit = kinds.lines().filter(|line| line.contains("limit-hit")).count();
    assert!(hit >= 4, "{kinds}");
}

#[test]
fn a_limit_that_is_changed_holds_for_the_run_that_is_up() {
    let Some(place) = Place::get("a_limit_that_is_changed") else { return };
    let fleet = |limits: &str| {
        format!("[service.a]\nrun = [\"/bin/sleep\", \"1000\"]\nlimits = {{ {limits} }}")
    };
    place.up(&fleet("processes = 20, io_weight = 50"));
    let pid = place.pid("a.0");
    let own = format!("/sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup)");
    assert_eq!(place.sh(&format!("cat {own}/pids.max")), "20");
    assert_eq!(place.sh(&format!("cat {own}/io.weight")), "default 50");
    place.up(&fleet("processes = 30"));
    until("the new limit holds", || {
        (place.sh(&format!("cat {own}/pids.max")) == "30").then_some(())
    });
    assert_eq!(place.sh(&format!("cat {own}/io.weight")), "default 100");
    assert_eq!(place.pid("a.0"), pid, "it runs on");
}

#[test]
fn requests_that_do_not_fit_are_refused_with_the_arithmetic() {
    let Some(place) = Place::get("requests_that_do_not_fit") else { return };
    place
        .sh("mkdir -p /srv && cat > /srv/stead.toml <<'END'\n[service.a]\nrun = [\"/bin/true\"]\n\
        count = 3\nrequests.memory = \"600MiB\"\nEND");
    let said = place.vm().try_sh(&format!("{PROGRAMS}/stead up --detach /srv/stead.toml"));
    let said = said.unwrap();
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("a 3 x 600 MiB = 1.7 GiB, and the host has"), "{}", said.err);
    let plan = place.stead("plan /srv/stead.toml");
    assert!(plan.contains("will be refused"), "{plan}");
}

#[test]
fn a_fork_loop_is_held_and_ended() {
    let Some(place) = Place::get("a_fork_loop_is_held_and_ended") else { return };
    place.up("[service.bomb]\nrun = [\"/usr/bin/perl\", \"-e\", \"fork while 1\"]\n\
         limits = { processes = 64, cpu = \"500m\" }");
    place.until_why("bomb.0", "refused at its limit of 64");
    let pid = place.pid("bomb.0");
    let own = format!("/sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup)");
    let current: u32 = place.sh(&format!("cat {own}/pids.current")).parse().unwrap();
    assert!(current <= 64, "{current}");
    place.stead("stop bomb");
    assert_eq!(place.sh("pgrep -c perl || true"), "0");
}
