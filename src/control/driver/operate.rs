//! What operators are shown, and how their orders reach the decisions.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Controller;
use crate::catalog::{Catalog, CatalogModel};
use crate::control::orders::Order;
use crate::control::step::{Action, ModelStep};
use crate::operator::{ActionReport, DecisionReport, Errand, ErrandError, ErrandOrder};

impl Controller {
    /// Follows an operator's order from the next round on.
    pub(super) fn obey(&mut self, errand: Errand) {
        let Errand { model, order, done } = errand;
        let found = self.setup.catalog.model(model.as_str()).cloned();
        let outcome = match found.ok_or_else(|| ErrandError::NoModel(model.clone())) {
            Ok(found) => read(&found, order.clone()),
            Err(error) => Err(error),
        };
        let outcome = outcome.map(|read| {
            tracing::info!(%model, ?order, "an operator's order");
            self.state.order(&model, read);
        });
        // Who asked may be gone.
        let _gone = done.send(outcome);
    }

    /// Variants that operators pinned keep their names, whatever place another policy gives them.
    pub(super) fn renumber_pins(&mut self, new: &Catalog) {
        for old in &self.models {
            let name = &old.policy.name;
            if let Some(model) = new.model(name.as_str()) {
                self.state.renumber(name, |variant| place_of(model, &old.variants.get(variant)?.name));
            }
        }
    }

    /// Notes a decision for operators.
    pub(super) fn note_for_operators(&self, step: &ModelStep) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let model = self.models.iter().find(|model| model.policy.name == step.model);
        let variant = |variant: usize| {
            let found = model.and_then(|model| model.variants.get(variant));
            found.map_or_else(String::new, |variant| variant.name.to_string())
        };
        let actions = step.actions.iter().filter_map(|action| match *action {
            Action::Start { variant: of, devices, .. } => {
                Some(ActionReport::Start { variant: variant(of), devices: devices.to_string() })
            }
            Action::Drain { instance } => Some(ActionReport::Drain { instance: instance.to_string() }),
            Action::Evict { instance } => Some(ActionReport::Evict { instance: instance.to_string() }),
            Action::Kill { instance, .. } => Some(ActionReport::Kill { instance: instance.to_string() }),
            Action::RefuseWaiting => Some(ActionReport::RefuseWaiting),
            // Follows from the others, and decides nothing.
            Action::SetThreads { .. } => None,
        });
        self.setup.board.note(DecisionReport {
            at: since_1970.as_secs_f64(),
            model: step.model.to_string(),
            target_instances: step.target_instances,
            reason: step.reason.name(),
            explanation: step.reason.to_string(),
            limit: step.limit.map(|limit| limit.to_string()),
            actions: actions.collect(),
        });
    }
}

/// An order with the variant's place in the policy.
fn read(model: &Arc<CatalogModel>, order: ErrandOrder) -> Result<Order, ErrandError> {
    Ok(match order {
        ErrandOrder::Load { instances } => {
            Order::Load { instances, hold: model.policy.scale.idle_unload_after }
        }
        ErrandOrder::Unload => Order::Unload,
        ErrandOrder::Unpin => Order::Unpin,
        ErrandOrder::Pin { instances, variant: None } => Order::Pin { instances, variant: None },
        ErrandOrder::Pin { instances, variant: Some(name) } => {
            let place = place_of(model, &name).ok_or_else(|| no_variant(model, name))?;
            Order::Pin { instances, variant: Some(place) }
        }
    })
}

fn no_variant(model: &CatalogModel, variant: String) -> ErrandError {
    let there: Vec<&str> = model.variants.iter().map(|variant| &*variant.name).collect();
    ErrandError::NoVariant { model: model.policy.name.clone(), variant, there: there.join(", ") }
}

fn place_of(model: &CatalogModel, variant: &str) -> Option<usize> {
    model.variants.iter().position(|other| &*other.name == variant)
}
