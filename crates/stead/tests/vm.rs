//! A whole machine with systemd: scopes, limits, boots and ends. One VM, one claim after the other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use stead_lab::{Image, Vm, missing_programs, skipped};

/// A machine without KVM, beside other tests, is slow.
const WITHIN: Duration = Duration::from_secs(240);

/// What a test may add to the agent's unit.
const OVERRIDES: &str = "/etc/systemd/system/stead-agent.service.d";

/// Where stead is in the VM.
const PROGRAMS: &str = "/opt/stead";

static VM: Mutex<Option<Vm>> = Mutex::new(None);

/// The machine, with no service on it.
struct Place(MutexGuard<'static, Option<Vm>>);

impl Place {
    /// `None` where there can be no VM, which is said.
    fn get(test: &str) -> Option<Self> {
        let missing = missing_programs();
        if !missing.is_empty() {
            skipped(test, &format!("there is no {}", missing.join(", no ")));
            return None;
        }
        let mut vm = VM.lock().unwrap_or_else(PoisonError::into_inner);
        if vm.is_none() {
            *vm = Some(boot());
        }
        let place = Self(vm);
        // What an agent kept runs on without it: nothing of a test before may be taken over.
        place.vm().sh(&format!(
            "{PROGRAMS}/stead down >/dev/null 2>&1; {PROGRAMS}/stead agent uninstall >/dev/null; \
             pkill -9 -x stead; systemctl stop 'stead-*.scope'; \
             rm -rf /var/lib/stead /srv/* {OVERRIDES}; \
             systemctl daemon-reload; systemctl reset-failed"
        ));
        Some(place)
    }

    fn vm(&self) -> &Vm {
        self.0.as_ref().expect("it was booted")
    }

    fn vm_mut(&mut self) -> &mut Vm {
        self.0.as_mut().expect("it was booted")
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.vm().sh(script)
    }

    #[track_caller]
    fn stead(&self, args: &str) -> String {
        self.sh(&format!("{PROGRAMS}/stead {args}"))
    }

    /// Runs `stead up` with this fleet file.
    #[track_caller]
    fn up(&self, fleet: &str) -> String {
        self.sh(&format!("mkdir -p /srv && cat > /srv/stead.toml <<'END'\n{fleet}\nEND"));
        self.stead("up --detach /srv/stead.toml 2>&1")
    }

    fn instance(&self, name: &str) -> Value {
        let status: Value = serde_json::from_str(&self.stead("status --json")).unwrap();
        let all = status["instances"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap_or(&Value::Null).clone()
    }

    fn pid(&self, name: &str) -> u64 {
        until(&format!("{name} runs"), || self.instance(name)["pid"].as_u64())
    }

    /// Waits until what `stead why` says of an instance holds this.
    fn until_why(&self, name: &str, part: &str) -> String {
        until(&format!("why {name} says {part}"), || {
            let why = self.stead(&format!("why {name}"));
            why.contains(part).then_some(why)
        })
    }
}

fn boot() -> Vm {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let image = Image::get(&scratch.join("vm-image")).expect("the image can be made");
    let vm = Vm::boot(&image, &scratch.join("vm")).expect("the VM comes up");
    vm.sh(&format!("mkdir -p {PROGRAMS} /srv"));
    for name in ["stead", "stead-keeper", "stead-front", "stead-probe"] {
        vm.put(&program(name), &format!("{PROGRAMS}/{name}"), 0o755).unwrap();
    }
    vm
}

/// What is shipped, where `cargo xtask test` has built it; else what was built for debugging.
fn program(name: &str) -> PathBuf {
    let shipped = std::env::var_os("STEAD_BIN").map(PathBuf::from);
    let beside = shipped.unwrap_or(env!("CARGO_BIN_EXE_stead").into()).with_file_name(name);
    assert!(beside.is_file(), "`cargo xtask test` builds {}", beside.display());
    beside
}

#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(300)); // bounded poll
    }
}

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

#[test]
fn agents_and_keepers_are_killed_under_scopes_and_nothing_else_ends() {
    let Some(place) = Place::get("agents_and_keepers_are_killed_under_scopes") else { return };
    place.stead("agent install");
    place.up("[service.a]\nrun = [\"/bin/sleep\", \"100000\"]\nlimits.processes = 33");
    let pid = place.pid("a.0");
    let cgroup = place.sh(&format!("cut -d: -f3 /proc/{pid}/cgroup"));
    assert!(cgroup.starts_with("/stead.slice/stead-a.0-") && cgroup.contains(".scope/run-"));
    let check = |what: &str| {
        assert_eq!(place.pid("a.0"), pid, "{what}");
        assert_eq!(place.sh(&format!("cat /sys/fs/cgroup{cgroup}/pids.max")), "33", "{what}");
        assert_eq!(place.sh("systemctl --failed --no-legend"), "", "{what}");
    };
    let scope = cgroup.rsplit_once('/').unwrap().0.to_owned();
    for _ in 0..5 {
        let keeper = place.instance("a.0")["keeper_pid"].as_u64().unwrap();
        place.sh(&format!("kill -9 {keeper}"));
        let next = until("another keeper", || {
            place.instance("a.0")["keeper_pid"].as_u64().filter(|next| *next != keeper)
        });
        let stands = place.sh(&format!("cut -d: -f3 /proc/{next}/cgroup"));
        assert_eq!(stands, format!("{scope}/keeper"));
        check("a keeper was killed");
    }
    for _ in 0..5 {
        let agent = place.sh("systemctl show -P MainPID stead-agent");
        place.sh(&format!("kill -9 {agent}"));
        until("another agent", || {
            let now = place.sh("systemctl show -P MainPID stead-agent");
            let answers = place.vm().try_sh(&format!("{PROGRAMS}/stead status")).unwrap().code;
            (now != agent && now != "0" && answers == Some(0)).then_some(())
        });
        check("an agent was killed");
    }
    for change in ["daemon-reload", "daemon-reexec", "restart stead-agent"] {
        place.sh(&format!("systemctl {change}"));
        check(change);
    }
    assert_eq!(place.sh("journalctl --no-pager -b | grep -c 219/CGROUP || true"), "0");
    place.stead("down");
    assert_eq!(place.sh("systemctl list-units --no-legend 'stead-a*.scope'"), "");
}

#[test]
fn control_a_delegated_unit_with_cgroups_of_its_own_is_never_started_again() {
    let Some(place) = Place::get("control_a_delegated_unit") else { return };
    place.sh(r#"cat > /srv/control.sh <<'END'
c=/sys/fs/cgroup/system.slice/control.service
mkdir $c/sub $c/main
echo $$ > $c/main/cgroup.procs
sleep 1000 & echo $! > $c/sub/cgroup.procs
echo '+pids' > $c/cgroup.subtree_control
exec sleep 1001
END
systemd-run --quiet --unit=control -p Delegate=yes -p KillMode=process -p Restart=always \
    -p RestartSec=300ms sh /srv/control.sh"#);
    until("it fails with 219/CGROUP", || {
        let journal = place.sh("pkill -9 -fx 'sleep 1001'; journalctl --no-pager -u control");
        journal.contains("219/CGROUP").then_some(())
    });
    place.sh("systemctl stop control; pkill -9 -fx 'sleep 1000'; systemctl reset-failed; true");
}

/// A service that says in its data when it was asked to end, and takes a while.
fn ending(name: &str, needs: &str) -> String {
    format!(
        "[service.{name}]\nneeds = [{needs}]\nrun = [\"/bin/sh\", \"-c\", \"\"\"\n\
         trap 'date +%s%N >> {{data}}/asked; sleep 1; date +%s%N >> {{data}}/ended; exit 0' TERM\n\
         while :; do sleep 0.1; done\n\"\"\"]\n"
    )
}

#[test]
fn services_end_in_the_order_of_needs_and_are_back_after_a_boot() {
    let Some(mut place) = Place::get("services_end_in_the_order_of_needs") else { return };
    place.stead("agent install");
    let fleet = [
        ending("db", ""),
        ending("api", "\"db\""),
        ending("web", "\"api\""),
        ending("loner", ""),
        "[service.stopped]\nrun = [\"/bin/sleep\", \"1000\"]\n".to_owned(),
        "[service.hourly]\nrun = [\"/bin/true\"]\nschedule.every = \"1h\"\n".to_owned(),
    ];
    place.up(&fleet.concat());
    place.stead("stop stopped");
    for round in 1..=2 {
        match round {
            1 => place.vm_mut().reboot().unwrap(),
            _ => {
                place.vm_mut().power_off().unwrap();
                place.vm_mut().power_on().unwrap();
            }
        }
        let time = |name: &str, what: &str| {
            let path = format!("/var/lib/stead/data/{name}.0/{what}");
            let text = place.sh(&format!("cat {path}"));
            let times: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(times.len(), round, "{name} was asked to end once in each round");
            times[round - 1]
        };
        for (first, second) in [("web", "api"), ("api", "db")] {
            assert!(time(first, "ended") <= time(second, "asked"), "{first} before {second}");
        }
        // Control: what nobody needs waits for nobody.
        assert!(time("loner", "asked") < time("web", "ended"));
        for name in ["db.0", "api.0", "web.0", "loner.0"] {
            until(&format!("{name} is back"), || {
                let answers = place.vm().try_sh(&format!("{PROGRAMS}/stead status")).ok()?;
                (answers.code == Some(0)).then_some(())?;
                (place.instance(name)["phase"] == "up").then_some(())
            });
        }
        assert_eq!(place.instance("stopped.0")["phase"], "down", "what was stopped stays so");
        let hourly = place.instance("hourly.0");
        assert_eq!(hourly["run"], 0, "a boot is not one of its times: {hourly}");
        let events = place.stead("events web");
        assert!(events.contains("the host goes down"), "{events}");
    }
}

#[test]
fn an_upgraded_agent_that_does_not_answer_is_taken_back() {
    let Some(place) = Place::get("an_upgraded_agent") else { return };
    place.stead("agent install");
    place.up("[service.a]\nrun = [\"/bin/sleep\", \"100000\"]");
    let pid = place.pid("a.0");
    let current = || place.sh("readlink /var/lib/stead/programs/current");
    let first = current();
    // Another build of the same: a program may have anything behind its end.
    let next = |n: u32| {
        place.sh(&format!(
            "rm -rf /opt/next; cp -r {PROGRAMS} /opt/next; echo {n} >> /opt/next/stead"
        ));
    };
    next(1);
    assert!(place.sh("/opt/next/stead agent install").contains("upgraded"));
    let second = current();
    assert_ne!(first, second);
    assert_eq!(place.pid("a.0"), pid);
    // From now on only these programs come up.
    let only = format!("{OVERRIDES}/only.conf");
    place.sh(&format!(
        "mkdir -p $(dirname {only}); printf '[Service]\\nExecStartPre=/bin/sh -c \"readlink \
         /var/lib/stead/programs/current | grep -q {second} || {{ sleep 5; exit 1; }}\"\\n' \
         > {only}; systemctl daemon-reload"
    ));
    next(2);
    let said = place.vm().try_sh("/opt/next/stead agent install").unwrap();
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("the one of before is back"), "{}", said.err);
    assert_eq!((current(), place.pid("a.0")), (second.clone(), pid));
    // The command dies in the middle: what it has set up takes its place.
    place.sh("sh -c 'setsid /opt/next/stead agent install >/dev/null 2>&1 &'");
    until("the upgrade has begun", || (current() != second).then_some(()));
    place.sh("pkill -9 -f '^/opt/next/stead'; systemctl stop stead-agent-revert.timer \
        || true; systemctl is-active stead-agent || true");
    place.sh(&format!("/var/lib/stead/programs/{second}/stead --root /var/lib/stead agent revert"));
    until("the agent of before answers", || {
        let said = place.vm().try_sh(&format!("{PROGRAMS}/stead status")).ok()?;
        (said.code == Some(0) && current() == second).then_some(())
    });
    assert_eq!(place.pid("a.0"), pid);
    place.sh(&format!("rm -r $(dirname {only}); systemctl daemon-reload"));
}
