//! What makes an order risky.

use serde::{Deserialize, Serialize};
use shop_common::order::Order;

/// From this price on an order is looked at by a person: 10,000.00.
pub(crate) const LARGE_CENTS: u32 = 1_000_000;
/// A customer may place this many orders within [`BURST_WINDOW_MS`]; those beyond are risky.
pub(crate) const BURST_ORDERS: u32 = 10;
pub(crate) const BURST_WINDOW_MS: i64 = 60_000;

/// Why an order was flagged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "rule")]
pub(crate) enum Reason {
    /// Many orders of one customer in a short time, as with a stolen card.
    Burst { orders_n: u32 },
    /// A very large amount.
    Large { cents: u32 },
}

/// Judges an order; `orders_n` counts the customer's orders within the window, this one included.
pub(crate) fn assess(order: &Order, orders_n: u32) -> Option<Reason> {
    if order.cents >= LARGE_CENTS {
        return Some(Reason::Large { cents: order.cents });
    }
    (orders_n > BURST_ORDERS).then_some(Reason::Burst { orders_n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_judged_by_amount_then_by_number() {
        let order = |cents| Order {
            id: "s-1".into(),
            customer: "ada".into(),
            item: "tea".into(),
            quantity: 1,
            cents,
            at_ms: 0,
        };
        let cases = [
            (1, 1, None),
            (LARGE_CENTS - 1, BURST_ORDERS, None),
            (LARGE_CENTS, 1, Some(Reason::Large { cents: LARGE_CENTS })),
            (1, BURST_ORDERS + 1, Some(Reason::Burst { orders_n: 11 })),
            (LARGE_CENTS, 99, Some(Reason::Large { cents: LARGE_CENTS })),
        ];
        for (cents, orders_n, expected) in cases {
            assert_eq!(assess(&order(cents), orders_n), expected, "{cents} cents, {orders_n}");
        }
    }
}
