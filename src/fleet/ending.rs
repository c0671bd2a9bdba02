//! How workers end that do not end by themselves: because they are frozen, or because the server stops.

use super::{Fleet, WorkerState};
use crate::fleet::lifecycle::Happening;
use crate::units::{InstanceId, Timestamp};
use crate::worker::{Kill, WorkerCommand};

impl Fleet {
    /// Ends the worker of a frozen instance. What else it has goes on in another one, too.
    pub fn kill(&mut self, id: InstanceId, why: Kill) {
        let Some(member) = self.members.get_mut(&id) else { return };
        // No more for this one, whatever becomes of its worker.
        member.leave(Happening::Drain);
        self.changed = true;
        let (worker_id, model) = (member.identity.worker, member.identity.model.clone());
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        tracing::error!(%model, instance = %id, worker = %worker_id, ?why, "frozen: ending its worker");
        if worker.handle.kill(why, Some(id)) {
            worker.state = WorkerState::Leaving;
            for member in self.members.values_mut().filter(|member| member.identity.worker == worker_id) {
                member.leave(Happening::Drain);
            }
        } else {
            tracing::error!(%model, instance = %id,
                "a worker in a thread cannot be ended; its requests hang (isolation: process would continue them)");
        }
    }

    /// A worker that has nothing and does not end when told to is frozen; no instance shows it.
    pub(super) fn end_idle_workers(&mut self, now: Timestamp) {
        for (id, worker) in &mut self.workers {
            let idle = self.members.values().all(|member| member.identity.worker != *id);
            if worker.state != WorkerState::Leaving || !idle {
                continue;
            }
            let stalled = now.since(*worker.idle_since.get_or_insert(now));
            if stalled >= worker.model.policy.watchdog.no_progress_after {
                worker.idle_since = Some(now);
                worker.handle.kill(Kill::Frozen { stalled }, None);
            }
        }
    }

    /// Stops everything at once: what still runs fails.
    pub fn stop_all(&mut self) {
        for member in self.members.values_mut() {
            member.leave(Happening::Drain);
            member.leave(Happening::Stop);
            member.tell();
        }
        for worker in self.workers.values_mut() {
            worker.state = WorkerState::Leaving;
            worker.handle.send(WorkerCommand::Unload);
        }
        self.changed = true;
    }

    /// Ends all workers that can be ended, whatever they do.
    pub fn kill_all(&self) {
        for worker in self.workers.values() {
            worker.handle.kill(Kill::Shutdown, None);
        }
    }
}
