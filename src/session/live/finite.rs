//! JSON knows no NaN and no infinity: what cannot be recorded is not folded in either, or a replay
//! would show another state than the live run.

use crate::event::{AgentEvent, Body, Event, HvEvent, Level, LoadSettings, LogEvent, OperatorEvent, Span};

/// The event itself, or without its non-finite numbers: optional ones become unknown; an event
/// that cannot do without is replaced by a remark.
pub(super) fn only(mut event: Event) -> Event {
    let sound = match &mut event.ev {
        Body::Hypervisor(HvEvent::Sample { sample, .. }) => {
            for number in [
                &mut sample.dirty_pages_per_s,
                &mut sample.throughput_bytes_per_s,
                &mut sample.throttle_pct,
                &mut sample.expected_downtime_ms,
                &mut sample.downtime_ms,
                &mut sample.total_time_ms,
                &mut sample.setup_time_ms,
            ] {
                *number = number.filter(|n| n.is_finite());
            }
            true
        }
        Body::Migration(crate::event::MigrationEvent::Forecast { forecast: f, .. }) => {
            for span in [&mut f.rounds, &mut f.migration_s, &mut f.downtime_s, &mut f.left_s] {
                *span = span.filter(finite);
            }
            f.grounds = f.grounds.take().filter(|g| {
                g.own_pages_per_s.is_finite() && [g.content_bytes, g.link_bytes_per_s, g.fixed_s].iter().all(finite)
            });
            let needs = &mut f.needs;
            for number in [
                &mut f.jump_pages_per_s,
                &mut f.followed_s,
                &mut needs.rate_below_pages_per_s,
                &mut needs.bandwidth_from_bytes_per_s,
                &mut needs.downtime_limit_from_ms,
            ] {
                *number = number.filter(|n| n.is_finite());
            }
            true
        }
        Body::Migration(crate::event::MigrationEvent::StopForecast { forecast: f, .. }) => {
            f.stood_s.is_finite() && [f.left_s, f.bytes, f.bytes_per_s].iter().all(finite)
        }
        Body::Agent(AgentEvent::Report(report)) => {
            report.rate_pages_per_s.is_finite() && report.cpu_load_pct.is_finite() && load(&report.set)
        }
        Body::Agent(AgentEvent::Ack { set, .. }) => load(set),
        Body::Operator(OperatorEvent::SetLoad { to, .. }) => load(to),
        Body::Operator(OperatorEvent::SetMigration { to }) => {
            to.policy.ram_factor = to.policy.ram_factor.filter(|f| f.is_finite());
            true
        }
        Body::Operator(OperatorEvent::SetPolicy { to }) => {
            to.ram_factor = to.ram_factor.filter(|f| f.is_finite());
            true
        }
        Body::Migration(crate::event::MigrationEvent::Began { settings, .. }) => {
            settings.policy.ram_factor = settings.policy.ram_factor.filter(|f| f.is_finite());
            true
        }
        Body::Migration(crate::event::MigrationEvent::Ruled {
            rule: crate::event::StopRule::RamFactor { limit, .. },
            ..
        }) => limit.is_finite(),
        Body::Host(host) => {
            host.hypervisors.retain(|(_, pct)| pct.is_finite());
            host.cpu_pct.is_finite()
        }
        _ => true,
    };
    if !sound {
        let text = format!("a number was not finite and cannot be recorded: {:?}", event.ev);
        event.ev = Body::Log(LogEvent { level: Level::Warn, from: "session".to_owned(), text });
    }
    event
}

fn finite(span: &Span) -> bool {
    span.lo.is_finite() && span.mid.is_finite() && span.hi.is_finite()
}

fn load(settings: &LoadSettings) -> bool {
    settings.cpu_load_pct.is_finite() && settings.fill_pct.is_finite()
}
