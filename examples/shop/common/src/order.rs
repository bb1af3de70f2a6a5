//! What is ordered, and the key that makes ordering twice harmless.

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

/// The most characters of a customer, an item or an idempotency key.
pub const TEXT_LEN_MAX: usize = 64;
/// The most pieces of one item in one order.
pub const QUANTITY_MAX: u32 = 1_000;

/// The header that names an order before it has an id.
pub const KEY_HEADER: &str = "idempotency-key";

/// An order as a customer places it; every field already holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "RawOrder")]
pub struct NewOrder {
    pub customer: String,
    pub item: String,
    pub quantity: u32,
    /// What the whole order costs.
    pub cents: u32,
}

/// The order as sent: nothing trusted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrder {
    customer: String,
    item: String,
    quantity: u32,
    cents: u32,
}

/// Why something sent is not an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OrderError {
    #[error("`cents` must be at least 1")]
    Cents,
    #[error("an idempotency key has 1 to {TEXT_LEN_MAX} visible ASCII characters")]
    Key,
    #[error("`quantity` must be 1 to {QUANTITY_MAX}")]
    Quantity,
    #[error("`{0}` must have 1 to {TEXT_LEN_MAX} characters, none of them a control character")]
    Text(&'static str),
}

impl TryFrom<RawOrder> for NewOrder {
    type Error = OrderError;

    fn try_from(raw: RawOrder) -> Result<Self, OrderError> {
        let RawOrder { customer, item, quantity, cents } = raw;
        for (name, text) in [("customer", &customer), ("item", &item)] {
            let len = text.chars().count();
            if len == 0 || len > TEXT_LEN_MAX || text.chars().any(char::is_control) {
                return Err(OrderError::Text(name));
            }
        }
        if quantity == 0 || quantity > QUANTITY_MAX {
            return Err(OrderError::Quantity);
        }
        if cents == 0 {
            return Err(OrderError::Cents);
        }
        Ok(NewOrder { customer, item, quantity, cents })
    }
}

/// An order that was stored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Order {
    /// `STORE-NUMBER`: says which store holds it, wherever that store runs today.
    pub id: String,
    pub customer: String,
    pub item: String,
    pub quantity: u32,
    pub cents: u32,
    /// Wall time of the store, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A page of a store's outbox.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Events {
    /// The store the numbers belong to; another store counts from 1 again.
    pub store: String,
    pub events: Vec<Event>,
}

/// One entry of the outbox: this order was placed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    pub seq: i64,
    pub order: Order,
}

/// What a client calls an order so that it can ask twice and be served once.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > TEXT_LEN_MAX || !visible {
            return Err(OrderError::Key);
        }
        Ok(IdempotencyKey(text.to_owned()))
    }

    /// The key in the headers of a request, if it has one.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, OrderError> {
        let Some(value) = headers.get(KEY_HEADER) else { return Ok(None) };
        Self::parse(value.to_str().map_err(|_| OrderError::Key)?).map(Some)
    }

    /// A key for a client that gave none.
    pub fn make() -> Self {
        IdempotencyKey(format!("made-{}", crate::unique_text()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_does_not_hold_is_refused_by_name() {
        let cases = [
            (r#"{"customer":"","item":"tea","quantity":1,"cents":1}"#, "`customer`"),
            (r#"{"customer":"ada","item":"a\nb","quantity":1,"cents":1}"#, "`item`"),
            (r#"{"customer":"ada","item":"tea","quantity":0,"cents":1}"#, "`quantity`"),
            (r#"{"customer":"ada","item":"tea","quantity":1001,"cents":1}"#, "`quantity`"),
            (r#"{"customer":"ada","item":"tea","quantity":1,"cents":0}"#, "`cents`"),
            (r#"{"customer":"ada","item":"tea","quantity":1,"cents":1,"tip":1}"#, "`tip`"),
        ];
        for (text, named) in cases {
            let error = serde_json::from_str::<NewOrder>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_is_short_and_visible() {
        assert!(IdempotencyKey::parse("cart-17").is_ok());
        for text in ["", "two words", "naïve", &"k".repeat(TEXT_LEN_MAX + 1)] {
            assert_eq!(IdempotencyKey::parse(text), Err(OrderError::Key), "{text}");
        }
    }

    #[test]
    fn two_made_keys_differ() {
        assert_ne!(IdempotencyKey::make(), IdempotencyKey::make());
    }
}
