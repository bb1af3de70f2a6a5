//! A simulated host that carries out its steps becomes what its plan says, whatever it was before.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Without `PROPTEST_CASES`, or with a smaller one.
const CASES: u32 = 300;
const SERVICES: [&str; 5] = ["a", "b", "c", "d", "e"];
const INSTANCES_PER_SERVICE_MAX: u32 = 2;
/// More than it takes to stop one after the other and to start as many again.
const ROUNDS_MAX: usize = 4 * SERVICES.len() * INSTANCES_PER_SERVICE_MAX as usize;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(CASES), failure_persistence: None, ..default }
}

/// How many instances a service has, its spec and which services before it in the order it needs.
type AnyService = (u32, u16, Vec<bool>);

fn any_service() -> impl Strategy<Value = AnyService> {
    (0..=INSTANCES_PER_SERVICE_MAX, 0..2_u16, vec(any::<bool>(), SERVICES.len()))
}

/// No ring: each service needs only what comes before it in an order of the plan's own.
fn any_plan() -> impl Strategy<Value = Plan> {
    let order = Just(SERVICES).prop_shuffle();
    (order, vec(any_service(), SERVICES.len())).prop_map(|(order, services)| {
        let mut plan = plan(&[]);
        for (place, (count, version, needs)) in services.into_iter().enumerate() {
            let before = order[..place].iter().zip(needs).filter(|(_, need)| *need);
            let needs: Vec<&str> = before.map(|(service, _)| *service).collect();
            for index in 0..count {
                let spec = Spec { umask: Umask(version), ..spec(&needs) };
                plan.instances.insert(name(&format!("{}.{index}", order[place])), spec);
            }
        }
        plan
    })
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Keeper {
    spec: Spec,
    phase: PhaseName,
    alive: bool,
    retiring: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Host(BTreeMap<InstanceName, Keeper>);

/// Something that happens on a host whatever its agent does.
#[derive(Clone, Debug)]
enum Happening {
    KeeperDies(Index),
    /// As far as it goes: up, or gone if it is retiring.
    MovesOn(Index),
    RunEnds(Index),
    /// The agent carries out this one of its steps and is interrupted.
    Step(Index),
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => any::<Index>().prop_map(Happening::KeeperDies),
        4 => any::<Index>().prop_map(Happening::MovesOn),
        1 => any::<Index>().prop_map(Happening::RunEnds),
        6 => any::<Index>().prop_map(Happening::Step),
    ]
}

impl Host {
    fn seen(&self, plan: &Plan) -> Seen {
        let seen = |(name, there): (&InstanceName, &Keeper)| {
            let current = plan.instances.get(name).is_none_or(|spec| *spec == there.spec);
            let (phase, retiring) = (there.phase, there.retiring);
            let keeper = match there.alive {
                true => keeper(phase, phase == PhaseName::Up, current, retiring),
                false => SeenKeeper::Dead,
            };
            (name.clone(), SeenInstance { needs: there.spec.needs.clone(), keeper })
        };
        self.0.iter().map(seen).collect()
    }

    fn happen(&mut self, plan: &Plan, happening: &Happening) {
        let name = |index: &Index| self.0.keys().nth(index.index(self.0.len())).cloned();
        let chosen = match happening {
            Happening::Step(index) => {
                let steps = reconcile(plan, &self.seen(plan));
                if !steps.is_empty() {
                    self.carry_out(plan, &steps[index.index(steps.len())]);
                }
                return;
            }
            Happening::KeeperDies(_) | Happening::MovesOn(_) | Happening::RunEnds(_)
                if self.0.is_empty() =>
            {
                return;
            }
            Happening::KeeperDies(index)
            | Happening::MovesOn(index)
            | Happening::RunEnds(index) => name(index).expect("the index is below the length"),
        };
        let there = self.0.get_mut(&chosen).expect("it was just found");
        match happening {
            Happening::KeeperDies(_) => (there.alive, there.retiring) = (false, false),
            Happening::MovesOn(_) => self.move_on(&chosen),
            Happening::RunEnds(_) => there.phase = PhaseName::Waiting,
            Happening::Step(_) => unreachable!("it was carried out above"),
        }
    }

    fn move_on(&mut self, name: &InstanceName) {
        let Some(there) = self.0.get_mut(name).filter(|there| there.alive) else { return };
        if there.retiring {
            self.0.remove(name);
        } else {
            there.phase = PhaseName::Up;
        }
    }

    /// Checks what every single step may assume, then does it.
    fn carry_out(&mut self, plan: &Plan, step: &Step) {
        match step {
            Step::Retire { instance } => {
                let there = self.0.get_mut(instance).expect("it is there to be retired");
                assert!(there.alive && !there.retiring, "{instance} is told once");
                assert!(!plan.instances.contains_key(instance), "{instance} is to stay");
                there.retiring = true;
            }
            Step::StartKeeper { instance } => {
                let spec = plan.instances.get(instance);
                if !self.0.contains_key(instance) {
                    let needs = &spec.expect("only what is planned is begun").needs;
                    assert_eq!(
                        self.down_among(plan, needs),
                        None,
                        "{instance} is started too soon"
                    );
                }
                let phase = PhaseName::Starting;
                let old = self.0.get(instance).map(|there| {
                    assert!(!there.alive, "{instance} has a keeper");
                    there.spec.clone()
                });
                let spec = spec.cloned().or(old).expect("what has no plan was there");
                let keeper = Keeper { spec, phase, alive: true, retiring: false };
                self.0.insert(instance.clone(), keeper);
            }
            Step::Update { instance } => {
                let there = self.0.get_mut(instance).expect("it is there to be updated");
                assert!(there.alive && !there.retiring, "{instance} cannot take it");
                assert_ne!(there.spec, plan.instances[instance], "{instance} has it");
                there.spec = plan.instances[instance].clone();
                there.phase = PhaseName::Starting;
            }
        }
    }

    /// An instance of these services that the plan holds and that is not up.
    fn down_among<'a>(&self, plan: &'a Plan, needs: &[ServiceName]) -> Option<&'a InstanceName> {
        let is_up = |name: &InstanceName| {
            self.0.get(name).is_some_and(|there| there.alive && there.phase == PhaseName::Up)
        };
        plan.instances.keys().find(|name| needs.contains(name.service()) && !is_up(name))
    }

    /// Every step is carried out and everything goes well, until there is nothing left to do.
    fn settle(&mut self, plan: &Plan) {
        for _ in 0..ROUNDS_MAX {
            let steps = reconcile(plan, &self.seen(plan));
            for step in &steps {
                self.carry_out(plan, step);
            }
            let before = self.clone();
            for name in before.0.keys() {
                self.move_on(name);
            }
            if steps.is_empty() && *self == before {
                return;
            }
        }
        panic!("the host does not come to rest: {self:?}");
    }

    fn equals(&self, plan: &Plan) -> bool {
        self.0.len() == plan.instances.len()
            && self.0.iter().all(|(name, there)| {
                plan.instances.get(name) == Some(&there.spec)
                    && there.alive
                    && !there.retiring
                    && there.phase == PhaseName::Up
            })
    }
}

/// Whether all of these are retired in an order that their needs allow.
fn in_order(plan: &Plan, host: &Host, steps: &[Step]) -> bool {
    steps.iter().all(|step| match step {
        Step::StartKeeper { .. } | Step::Update { .. } => true,
        Step::Retire { instance } => !host.0.iter().any(|(other, there)| {
            !plan.instances.contains_key(other) && there.spec.needs.contains(instance.service())
        }),
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_host_goes_from_any_plan_to_any_other_in_the_order_of_needs(
        plans in [any_plan(), any_plan()],
        ends in vec(any::<Index>(), 0..40),
    ) {
        let [old, new] = plans;
        let mut host = Host::default();
        host.settle(&old);
        prop_assert!(host.equals(&old), "{:?}", host);
        for index in ends {
            let steps = reconcile(&new, &host.seen(&new));
            prop_assert!(in_order(&new, &host, &steps), "{:?} on {:?}", steps, host);
            for step in &steps {
                host.carry_out(&new, step);
            }
            host.happen(&new, &Happening::MovesOn(index));
        }
        host.settle(&new);
        prop_assert!(host.equals(&new), "{:?}", host);
        prop_assert_eq!(reconcile(&new, &host.seen(&new)), vec![]);
    }

    #[test]
    fn a_host_becomes_its_last_plan_whatever_came_between(
        turns in vec((any_plan(), vec(any_happening(), 0..20)), 1..5),
    ) {
        let mut host = Host::default();
        for (plan, happenings) in &turns {
            for happening in happenings {
                host.happen(plan, happening);
            }
        }
        let (last, _) = turns.last().expect("there is one at least");
        host.settle(last);
        prop_assert!(host.equals(last), "{:?}", host);
        prop_assert_eq!(reconcile(last, &host.seen(last)), vec![]);
    }

    #[test]
    fn taking_down_what_is_there_leaves_nothing(
        turns in vec((any_plan(), vec(any_happening(), 0..20)), 1..5),
    ) {
        let mut host = Host::default();
        for (plan, happenings) in &turns {
            for happening in happenings {
                host.happen(plan, happening);
            }
        }
        host.settle(&plan(&[]));
        prop_assert!(host.0.is_empty(), "{:?}", host);
    }
}
