//! Whether the programs that are brought there can be run by what is there.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::facts::Facts;
use super::needs::{Binary, Needs, Program, Signature, SignatureState, System};
use super::{About, Finding};

/// What each program is found to be, with nothing told of those that are yet to be built but that
/// they are.
fn each(
    about: About,
    needs: &Needs,
    look: impl Fn(&Program, &Binary) -> Option<Finding>,
) -> Vec<Finding> {
    if needs.programs.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut unbuilt: Vec<&str> = Vec::new();
    for program in &needs.programs {
        match &program.binary {
            Some(binary) => found.extend(look(program, binary)),
            None => unbuilt.push(&program.file),
        }
    }
    if found.is_empty() {
        return about.ok(match unbuilt.as_slice() {
            [] => "it runs there".into(),
            files => format!("not built yet: {}", files.join(", ")),
        });
    }
    found
}

pub(super) fn machine(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "a program runs on the processor that it was built for";
    let about = About { check: "program-machine", reason };
    let Some(machine) = &facts.machine else { return Vec::new() };
    each(about, needs, |program, binary| {
        if let Some(damage) = &binary.damage {
            let Program { service, file, .. } = program;
            let found = format!("`{file}` of {service} makes no sense: {damage}");
            return Some(about.warn(found, format!("build {service} again")));
        }
        // What is for another system is told by a check of its own.
        let is_other = binary.system == needs.system
            && !binary.machine.is_some_and(|its| runs_on(needs.system, its, machine));
        is_other.then(|| {
            let its = binary.machine.unwrap_or("another processor");
            let Program { service, file, .. } = program;
            about.fail(
                format!("`{file}` of {service} is for {its}, the host is {machine}"),
                format!("build {service} for {machine}"),
            )
        })
    })
}

/// Whether a host with this processor runs programs for that one.
fn runs_on(system: System, its: &str, machine: &str) -> bool {
    its == machine
        || match (system, machine) {
            // Windows brings what runs those for 32 bits, and translates for others.
            (System::Windows, "x86_64") => its == "i686",
            (System::Windows, "aarch64") => matches!(its, "i686" | "x86_64"),
            (System::Linux | System::Windows, _) => false,
        }
}

pub(super) fn system(_: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "a program runs on the system that it was built for";
    let about = About { check: "program-system", reason };
    each(about, needs, |program, binary| {
        let (its, wanted) = (binary.system, needs.system.name());
        (its != needs.system).then(|| {
            let Program { service, file, .. } = program;
            about.fail(
                format!("`{file}` of {service} is for {}, the host has {wanted}", its.name()),
                format!(
                    "build {service} for {wanted}: `[service.{service}.windows]` has what differs"
                ),
            )
        })
    })
}

pub(super) fn interpreter(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "a program that is not static is loaded by another one";
    let about = About { check: "program-interpreter", reason };
    each(about, needs, |program, binary| {
        let interpreter = binary.interpreter.as_ref()?;
        facts.paths_missing.contains(interpreter).then(|| {
            let Program { service, file, .. } = program;
            about.fail(
                format!("`{file}` of {service} needs `{interpreter}`, which is not there"),
                format!("build {service} static, or install the C library that has it"),
            )
        })
    })
}

pub(super) fn glibc(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "a program names the versions of the C library that it needs, and ends without";
    let about = About { check: "glibc", reason };
    let there = match (facts.glibc, facts.is_musl) {
        (Some(version), _) => format!("glibc {version}"),
        (None, true) => "musl".into(),
        (None, false) => String::new(),
    };
    each(about, needs, |program, binary| {
        let needed = binary.glibc?;
        let Program { service, file, .. } = program;
        let what = format!("`{file}` of {service} needs glibc {needed}");
        match facts.glibc {
            Some(version) if version >= needed => None,
            Some(version) => Some(about.fail(
                format!("{what}, the host has {there}"),
                format!("build {service} where glibc is {version} or older, or static"),
            )),
            None if facts.is_musl => Some(about.fail(
                format!("{what}, the host has {there}"),
                format!("build {service} for musl, or static"),
            )),
            None => Some(about.warn(
                format!("{what}, and the host does not tell what it has"),
                "`ldd --version` there",
            )),
        }
    })
}

pub(super) fn signature(_: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "what is to be signed is brought with a signature that holds, or not at all";
    let about = About { check: "signature", reason };
    let finding = |Signature { service, file, state }: &Signature| match state {
        SignatureState::Bad { why, copy } => Vec::from([about.fail(
            format!("the signature of `{file}` of {service} does not verify: {why}"),
            format!(
                "`rm '{copy}'`, and the next deploy signs it again; `sign.trust` names the \
                 certificates that are trusted"
            ),
        )]),
        SignatureState::NoTool { tool } => Vec::from([about.fail(
            format!("`{file}` of {service} is signed by `{tool}`, which is not here"),
            format!("install `{tool}` on this machine"),
        )]),
        SignatureState::Verified => {
            about.ok(format!("the signature of `{file}` of {service} verifies"))
        }
        SignatureState::Unsigned => {
            about.ok(format!("`{file}` of {service} is yet to be signed, which a deploy does"))
        }
    };
    needs.signatures.iter().flat_map(finding).collect()
}
