//! What a host has and can keep, against what a plan asks of it.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::names::{InstanceName, ServiceName};
use crate::plan::{Enforce, Limits, Plan, Spec};
use crate::units::{Bytes, MilliCpu};

/// What a host has and can keep.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Capacity {
    pub memory: Bytes,
    pub cpu: MilliCpu,
    pub keeps: Keeps,
}

/// Which limits a host can hold instances to. Those on open files are kept by every host.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Keeps {
    pub memory: bool,
    pub cpu: bool,
    pub processes: bool,
    pub io_weight: bool,
}

/// Why a host does not take a plan, and what to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TooMuch {
    pub because: String,
    pub try_this: String,
}

impl Capacity {
    /// Why a plan is not for this host, if it is not.
    pub fn refuse(&self, plan: &Plan) -> Option<TooMuch> {
        self.refuse_limits(plan).or_else(|| self.refuse_requests(plan))
    }

    /// What will not be kept on this host of limits that need not be.
    pub fn unkept(&self, plan: &Plan) -> Vec<String> {
        let best = |limits: &Limits| limits.enforce == Enforce::Best;
        self.missing(plan, best)
            .into_iter()
            .map(|(service, names)| format!("{} of {service}", names.join(", ")))
            .collect()
    }

    fn refuse_limits(&self, plan: &Plan) -> Option<TooMuch> {
        let must = |limits: &Limits| limits.enforce == Enforce::Must;
        let (service, names) = self.missing(plan, must).into_iter().next()?;
        let names = names.join(", ");
        Some(TooMuch {
            because: format!("this host cannot keep {names} of `{service}`"),
            try_this: "a host with cgroup v2 (systemd as root has it), or `limits.enforce = \
                       \"best\"`, with which it runs without them"
                .to_owned(),
        })
    }

    fn missing(
        &self,
        plan: &Plan,
        is_meant: impl Fn(&Limits) -> bool,
    ) -> BTreeMap<ServiceName, Vec<&'static str>> {
        let mut found = BTreeMap::new();
        for (name, Spec { limits, .. }) in plan.instances.iter() {
            let missing: Vec<&'static str> = [
                ("`limits.memory`", limits.memory.is_some() && !self.keeps.memory),
                ("`limits.cpu`", limits.cpu.is_some() && !self.keeps.cpu),
                ("`limits.processes`", limits.processes.is_some() && !self.keeps.processes),
                ("`limits.io_weight`", limits.io_weight.is_some() && !self.keeps.io_weight),
            ]
            .into_iter()
            .filter_map(|(name, is_missing)| is_missing.then_some(name))
            .collect();
            if !missing.is_empty() && is_meant(limits) {
                found.insert(name.service().clone(), missing);
            }
        }
        found
    }

    fn refuse_requests(&self, plan: &Plan) -> Option<TooMuch> {
        let memory = sum(plan, |spec| spec.requests.memory.map(|Bytes(bytes)| bytes));
        let cpu = sum(plan, |spec| spec.requests.cpu.map(|cpu| u64::from(cpu.0)));
        let show_cpu = |milli: u64| format!("{}.{:03} cores", milli / 1000, milli % 1000);
        let parts = [
            ("memory", memory, self.memory.0, show_bytes as fn(u64) -> String),
            ("cpu", cpu, u64::from(self.cpu.0), show_cpu),
        ];
        for (what, Sum { total, terms }, there, show) in parts {
            if total > there {
                let terms: Vec<String> =
                    terms.iter().map(|(name, n, each)| term(name, *n, &show(*each))).collect();
                return Some(TooMuch {
                    because: format!(
                        "`requests.{what}` are {} = {}, and the host has {}",
                        terms.join(" + "),
                        show(total),
                        show(there)
                    ),
                    try_this: "a smaller `count`, smaller `requests`, or another host".to_owned(),
                });
            }
        }
        None
    }
}

/// What the instances of a plan ask for together.
struct Sum {
    total: u64,
    /// Service, number of instances, what each of them asks for.
    terms: Vec<(ServiceName, u64, u64)>,
}

fn sum(plan: &Plan, asked: impl Fn(&Spec) -> Option<u64>) -> Sum {
    let mut sum = Sum { total: 0, terms: Vec::new() };
    let each = |(name, spec): (&InstanceName, &Spec)| Some((name.service().clone(), asked(spec)?));
    for (service, each) in plan.instances.iter().filter_map(|(name, spec)| each((name, spec))) {
        sum.total = sum.total.saturating_add(each);
        match sum.terms.last_mut() {
            Some((last, n, known)) if *last == service && *known == each => *n += 1,
            Some(_) | None => sum.terms.push((service, 1, each)),
        }
    }
    sum
}

fn term(name: &ServiceName, n: u64, each: &str) -> String {
    match n {
        1 => format!("{name} {each}"),
        n => format!("{name} {n} x {each}"),
    }
}

/// With a decimal where that tells more.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB && !bytes.is_multiple_of(GIB) {
        let tenths = bytes / (GIB / 10);
        return format!("{}.{} GiB", tenths / 10, tenths % 10);
    }
    let mib = bytes >> 20;
    if bytes >= GIB {
        format!("{} GiB", bytes / GIB)
    } else if mib > 0 {
        format!("{mib} MiB")
    } else {
        Bytes(bytes).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Requests;
    use crate::template::Template;

    const ALL: Keeps = Keeps { memory: true, cpu: true, processes: true, io_weight: true };

    fn host(keeps: Keeps) -> Capacity {
        Capacity { memory: Bytes(8 << 30), cpu: MilliCpu(2000), keeps }
    }

    fn plan(specs: &[(&str, Spec)]) -> Plan {
        Plan {
            fleet: "shop".parse().unwrap(),
            host: "local".parse().unwrap(),
            instances: specs
                .iter()
                .map(|(name, spec)| (name.parse().unwrap(), spec.clone()))
                .collect(),
        }
    }

    fn asking(memory: Option<u64>, cpu: Option<u32>) -> Spec {
        let requests = Requests { memory: memory.map(Bytes), cpu: cpu.map(MilliCpu) };
        Spec { requests, ..Spec::of([Template::literal("x")].into()) }
    }

    #[test]
    fn a_plan_that_asks_for_more_than_there_is_is_refused_with_the_sum() {
        let gib = |n: u64| Some(n << 30);
        let cases = [
            (plan(&[("a.0", asking(gib(8), None)), ("b.0", asking(None, Some(2000)))]), None),
            (
                plan(&[
                    ("a.0", asking(gib(3), None)),
                    ("a.1", asking(gib(3), None)),
                    ("b.0", asking(Some(2200 << 20), None)),
                    ("c.0", asking(None, None)),
                ]),
                Some(
                    "`requests.memory` are a 2 x 3 GiB + b 2.1 GiB = 8.1 GiB, and the host has \
                     8 GiB",
                ),
            ),
            (
                plan(&[("a.0", asking(None, Some(1500))), ("b.0", asking(None, Some(501)))]),
                Some(
                    "`requests.cpu` are a 1.500 cores + b 0.501 cores = 2.001 cores, and the host \
                     has 2.000 cores",
                ),
            ),
        ];
        for (plan, because) in cases {
            let refused = host(ALL).refuse(&plan);
            assert_eq!(refused.as_ref().map(|it| it.because.as_str()), because);
        }
    }

    #[test]
    fn limits_that_cannot_be_kept_are_refused_or_said() {
        let mut spec = asking(None, None);
        spec.limits = Limits { cpu: Some(MilliCpu(1)), processes: Some(9), ..Limits::default() };
        let none = host(Keeps::default());
        let strict = plan(&[("a.0", spec.clone())]);
        let because = none.refuse(&strict).unwrap().because;
        assert_eq!(because, "this host cannot keep `limits.cpu`, `limits.processes` of `a`");
        assert_eq!(host(ALL).refuse(&strict), None);
        spec.limits.enforce = Enforce::Best;
        let best = plan(&[("a.0", spec.clone()), ("a.1", spec)]);
        assert_eq!(none.refuse(&best), None);
        assert_eq!(none.unkept(&best), ["`limits.cpu`, `limits.processes` of a"]);
        assert!(host(ALL).unkept(&best).is_empty());
        let mut files = asking(None, None);
        files.limits.files = Some(9);
        assert_eq!(none.refuse(&plan(&[("a.0", files)])), None, "every host keeps that one");
    }
}
