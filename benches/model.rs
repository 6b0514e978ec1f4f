//! What the model costs: one migration by each engine, and the paper's whole campaign for Xen.

use std::hint::black_box;
use std::time::Duration;

use blackout::experiment::campaign::{run as campaign, scenario};
use blackout::experiment::paper::{design, setup};
use blackout::model::{Engine, Product, Scenario, run, run_watched};
use criterion::{Criterion, criterion_group, criterion_main};

/// 8 GiB with a WSET of 1,000 MiB.
fn large(product: Product, rate: u64) -> Scenario {
    scenario(product, &setup(product), (8 << 30, 1000 << 20, rate), None)
}

fn one(c: &mut Criterion) {
    for (name, product, rate) in [
        ("idle, Xen 3.4", Product::Xen34, 0),
        ("below the jump, Xen 3.4", Product::Xen34, 20_000),
        ("above the jump, Xen 3.4", Product::Xen34, 60_000),
        ("above the jump, VMware ESX 4.0", Product::Vmware40, 60_000),
        ("below the jump, QEMU", Product::Qemu, 20_000),
    ] {
        let s = large(product, rate);
        let mut group = c.benchmark_group(format!("8 GiB, {name}"));
        group.bench_function("interval", |b| b.iter(|| run(black_box(&s))));
        group.sample_size(10).measurement_time(Duration::from_secs(3));
        group.bench_function("bitmap", |b| b.iter(|| run_watched(black_box(&s), Engine::Bitmap, &mut ())));
    }
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("the paper's campaign");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    for product in [Product::Xen34, Product::Vmware40] {
        let (design, setup) = (design(product), setup(product));
        group.bench_function(product.name(), |b| b.iter(|| campaign(&design, &setup, 1)));
    }
}

criterion_group!(benches, one, whole);
criterion_main!(benches);
