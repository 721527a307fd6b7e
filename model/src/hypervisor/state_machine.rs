//! libvirt's two configs of one guest against their rules on paper: QEMU 7.2 on `pc`, a guest that
//! lets go 700 ms after it was asked, or never.
//!
//! Calls do not block here (`detach_blocks` is zero): what a call waits for is another subject.
//! Error codes and times as measured with libvirt 9.0 (docs/hypervisor.md).

use std::time::Duration;

use castoff_ports::libvirt::{AttachDeviceFlags, DetachDeviceFlags, PowerState, XmlDesc, error};
use castoff_ports::qemu::{Machine, Qemu, Version};
use castoff_ports::{Failure, Refusal};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::LetsGo;
use crate::Release;
use crate::kernel::bed::{Bed, disk, guest, volume};

/// How long the guest takes, in ms.
const LETS_GO: u64 = 700;

/// For so long, in ms, QEMU 7.2 refuses another request; later ones it takes, and the guest goes on
/// with the first.
const PENDING: u64 = 1;

/// A disk in the running guest, and when its removal was asked for first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    n: u8,
    asked: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Paper {
    answers: bool,
    runs: bool,
    now: u64,
    live: Vec<Live>,
    config: Vec<u8>,
    /// What the last call must answer: libvirt's error code.
    answer: Result<(), i32>,
}

/// Which configs a call names; neither means those of the moment.
#[derive(Clone, Copy, Debug)]
struct Which {
    config: bool,
    live: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Attach(u8, Which),
    Detach(u8, Which),
    Pass(u64),
    Stop,
    Start,
}

impl Paper {
    fn which(&self, which: Which) -> Result<Which, i32> {
        let named = match which {
            Which { config: false, live: false } => Which { config: !self.runs, live: self.runs },
            named => named,
        };
        if named.live && !self.runs { Err(error::OPERATION_INVALID) } else { Ok(named) }
    }

    fn has(&self, n: u8) -> Option<usize> {
        self.live.iter().position(|d| d.n == n)
    }

    fn attach(&mut self, n: u8, which: Which) -> Result<(), i32> {
        let Which { config, live } = self.which(which)?;
        if (config && self.config.contains(&n)) || (live && self.has(n).is_some()) {
            return Err(error::XML_ERROR);
        }
        if live {
            self.live.push(Live { n, asked: None });
        }
        if config {
            self.config.push(n);
        }
        Ok(())
    }

    fn detach(&mut self, n: u8, which: Which) -> Result<(), i32> {
        let Which { config, live } = self.which(which)?;
        if config && !self.config.contains(&n) {
            return Err(error::DEVICE_MISSING);
        }
        if live {
            let at = self.has(n).ok_or(error::DEVICE_MISSING)?;
            let (first, last) = match self.live[at].asked {
                Some((_, last)) if self.now - last <= PENDING => return Err(error::INTERNAL_ERROR),
                Some((first, _)) => (first, self.now),
                None => (self.now, self.now),
            };
            self.live[at].asked = Some((first, last));
        }
        if config {
            self.config.retain(|d| *d != n);
        }
        Ok(())
    }
}

impl ReferenceStateMachine for Paper {
    type State = Paper;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Paper> {
        let paper = |answers| Paper {
            answers,
            runs: true,
            now: 0,
            live: Vec::new(),
            config: Vec::new(),
            answer: Ok(()),
        };
        any::<bool>().prop_map(paper).boxed()
    }

    fn transitions(_: &Paper) -> BoxedStrategy<Act> {
        let which =
            (any::<bool>(), any::<bool>()).prop_map(|(config, live)| Which { config, live });
        prop_oneof![
            4 => (0..3_u8, which.clone()).prop_map(|(n, which)| Act::Attach(n, which)),
            4 => (0..3_u8, which).prop_map(|(n, which)| Act::Detach(n, which)),
            3 => prop_oneof![1..3_u64, 1..1000_u64].prop_map(Act::Pass),
            1 => Just(Act::Stop),
            1 => Just(Act::Start),
        ]
        .boxed()
    }

    fn apply(mut paper: Paper, act: &Act) -> Paper {
        paper.answer = match *act {
            Act::Attach(n, which) => paper.attach(n, which),
            Act::Detach(n, which) => paper.detach(n, which),
            Act::Pass(ms) => {
                paper.now += ms;
                let (now, answers) = (paper.now, paper.answers);
                paper
                    .live
                    .retain(|d| !answers || d.asked.is_none_or(|(first, _)| first + LETS_GO > now));
                Ok(())
            }
            Act::Stop => {
                paper.runs = false;
                paper.live.clear();
                Ok(())
            }
            Act::Start => {
                if !paper.runs {
                    paper.runs = true;
                    paper.live = paper.config.iter().map(|n| Live { n: *n, asked: None }).collect();
                }
                Ok(())
            }
        };
        paper
    }
}

struct Guest {
    bed: Bed,
}

fn target(n: u8) -> String {
    format!("vd{}", char::from(b'b' + n))
}

fn device(n: u8) -> castoff_ports::libvirt::GuestDisk {
    let source = format!("/dev/sd{}", char::from(b'b' + n));
    disk(&target(n), &source, &volume(u32::from(n) + 1))
}

impl Guest {
    fn power(&mut self, power: PowerState) {
        let Bed { world, now, .. } = &mut self.bed;
        let (facts, kernel, storage) = (&mut world.facts, &mut world.kernel, &mut world.storage);
        let done = world.hypervisor.set_power(facts, kernel, storage, *now, &guest(), power);
        done.expect("its disks are there");
    }
}

impl StateMachineTest for Guest {
    type SystemUnderTest = Guest;
    type Reference = Paper;

    fn init_test(paper: &Paper) -> Guest {
        let qemu = Qemu { version: Version::new(7, 2), machine: Machine::Pc };
        let release = Release::named("2026.1").expect("a known release");
        let mut bed = Bed::of(Release { qemu, detach_blocks: Duration::ZERO, ..release });
        let answers = match paper.answers {
            true => LetsGo::After(Duration::from_millis(LETS_GO)),
            false => LetsGo::Never,
        };
        bed.world.hypervisor.set_lets_go(bed.now, answers);
        (1..4).for_each(|n| drop(bed.connect(n)));
        Guest { bed }
    }

    fn apply(mut g: Guest, after: &Paper, act: Act) -> Guest {
        let instance = guest();
        let answer = match act {
            Act::Attach(n, Which { config, live }) => {
                g.bed.ask(AttachDeviceFlags { instance, disk: device(n), config, live })
            }
            Act::Detach(n, Which { config, live }) => {
                g.bed.ask(DetachDeviceFlags { instance, disk: device(n), config, live })
            }
            Act::Pass(_) => {
                g.bed.until(after.now);
                Ok(())
            }
            Act::Stop => {
                g.power(PowerState::Shutdown);
                Ok(())
            }
            Act::Start => {
                g.power(PowerState::Running);
                Ok(())
            }
        };
        let code = answer.as_ref().copied().map_err(|failure| match failure {
            Failure::Refused(Refusal::Libvirt { code, .. }) => *code,
            other => panic!("{other:?}"),
        });
        assert_eq!(code, after.answer, "{act:?} answered {answer:?}");
        g
    }

    fn check_invariants(Guest { bed }: &Guest, paper: &Paper) {
        let live = bed.world.hypervisor.live_disks().map(|d| d.target.clone());
        assert!(live.eq(paper.live.iter().map(|d| target(d.n))), "{paper:?}");
        // A look may not change the world, so it is another's.
        let mut other = Bed { world: bed.world.clone(), now: bed.now, cx: bed.cx.clone() };
        let config = other.ask(XmlDesc { instance: guest(), inactive: true }).expect("defined");
        let config: Vec<_> = config.into_iter().map(|d| d.target_dev).collect();
        assert_eq!(config, paper.config.iter().map(|n| target(*n)).collect::<Vec<_>>());
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_configs_change_as_libvirt_changes_them(sequential 1..50 => Guest);
}
