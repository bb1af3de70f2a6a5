//! Scopes, boots and ends: of agents, keepers and the whole machine.

use crate::place::{OVERRIDES, PROGRAMS, Place, until};

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
