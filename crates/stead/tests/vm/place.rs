//! The one VM of these tests, as each of them finds it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use stead_lab::{Image, Vm, missing_programs, skipped};

/// A machine without KVM, beside other tests, is slow.
const WITHIN: Duration = Duration::from_secs(240);

/// What a test may add to the agent's unit.
pub(crate) const OVERRIDES: &str = "/etc/systemd/system/stead-agent.service.d";

/// Where stead is in the VM.
pub(crate) const PROGRAMS: &str = "/opt/stead";

static VM: Mutex<Option<Vm>> = Mutex::new(None);

/// The machine, with no service on it.
pub(crate) struct Place(MutexGuard<'static, Option<Vm>>);

impl Place {
    /// `None` where there can be no VM, which is said.
    pub(crate) fn get(test: &str) -> Option<Self> {
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

    pub(crate) fn vm(&self) -> &Vm {
        self.0.as_ref().expect("it was booted")
    }

    pub(crate) fn vm_mut(&mut self) -> &mut Vm {
        self.0.as_mut().expect("it was booted")
    }

    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.vm().sh(script)
    }

    #[track_caller]
    pub(crate) fn stead(&self, args: &str) -> String {
        self.sh(&format!("{PROGRAMS}/stead {args}"))
    }

    /// Runs `stead up` with this fleet file.
    #[track_caller]
    pub(crate) fn up(&self, fleet: &str) -> String {
        self.sh(&format!("mkdir -p /srv && cat > /srv/stead.toml <<'END'\n{fleet}\nEND"));
        self.stead("up --detach /srv/stead.toml 2>&1")
    }

    pub(crate) fn instance(&self, name: &str) -> Value {
        let status: Value = serde_json::from_str(&self.stead("status --json")).unwrap();
        let all = status["instances"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap_or(&Value::Null).clone()
    }

    pub(crate) fn pid(&self, name: &str) -> u64 {
        until(&format!("{name} runs"), || self.instance(name)["pid"].as_u64())
    }

    /// Waits until what `stead why` says of an instance holds this.
    pub(crate) fn until_why(&self, name: &str, part: &str) -> String {
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
pub(crate) fn program(name: &str) -> PathBuf {
    let shipped = std::env::var_os("STEAD_BIN").map(PathBuf::from);
    let beside = shipped.unwrap_or(env!("CARGO_BIN_EXE_stead").into()).with_file_name(name);
    assert!(beside.is_file(), "`cargo xtask test` builds {}", beside.display());
    beside
}

#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(300)); // bounded poll
    }
}
