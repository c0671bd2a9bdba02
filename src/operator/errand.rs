//! What the controller is told to do with a model.

use tokio::sync::oneshot;

use crate::units::ModelName;

/// What an operator orders; see [`crate::control::orders`] for what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrandOrder {
    /// Hold so many instances for a while.
    Load {
        /// How many.
        instances: u32,
    },
    /// Let all go.
    Unload,
    /// Hold so many until that is taken back.
    Pin {
        /// How many.
        instances: u32,
        /// Of this variant alone.
        variant: Option<String>,
    },
    /// Take a pin back.
    Unpin,
}

/// An order on its way to the controller.
#[derive(Debug)]
pub struct Errand {
    /// For which model.
    pub model: ModelName,
    /// What.
    pub order: ErrandOrder,
    /// Told once it holds, or why it does not.
    pub done: oneshot::Sender<Result<(), ErrandError>>,
}

/// Why an order does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrandError {
    /// It is no longer in the policy.
    #[error("the model {0} was removed from the policy")]
    NoModel(ModelName),
    /// The model has no such variant.
    #[error("variant: {model} has no variant {variant:?}; it has {there}")]
    NoVariant {
        /// The model.
        model: ModelName,
        /// What was asked for.
        variant: String,
        /// Those that there are.
        there: String,
    },
}
