//! How fast one run is, state checks on: the campaign's unit of work.
//!
//! Bars on one core: `direct/healthy` at least 10,000 runs/s, `network/healthy` at least 200
//! runs/s; a guest that never lets go at most 1 ms on `direct`, 300 ms on `network`.

#![allow(missing_docs)]

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_sim::prepare::Prepared;
use castoff_sim::run::{self, BindingKind};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn prepared(scenario: &str, policy: &str) -> Rc<Prepared> {
    let scenario = castoff_scenarios::resolve(scenario).expect("a built-in scenario");
    let policy = Policy::named(policy).expect("a built-in policy");
    let release = Release::named(&policy.default_release).expect("its release");
    Prepared::new(&Arc::new(scenario), &policy, &release).expect("it can be prepared")
}

fn detach(c: &mut Criterion) {
    for binding in BindingKind::ALL {
        let mut group = c.benchmark_group(binding.as_str());
        group.throughput(Throughput::Elements(1));
        if binding == BindingKind::Network {
            group.sample_size(20).measurement_time(Duration::from_secs(10));
        }
        for scenario in ["healthy", "guest-never-lets-go"] {
            for policy in ["pike", "2026.1"] {
                let prepared = prepared(scenario, policy);
                let mut seed = 0;
                group.bench_function(format!("{scenario}/{policy}"), |b| {
                    b.iter(|| {
                        seed += 1;
                        black_box(run::run(&prepared, binding, seed, None, false))
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, detach);
criterion_main!(benches);
