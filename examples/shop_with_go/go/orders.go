package main

import (
	"context"

	"github.com/google/uuid"
	"github.com/micro/go-micro/v2/client"
	"github.com/micro/go-micro/v2/errors"
)

var prices = map[string]int{"tea": 480, "coffee": 920, "cake": 350, "teapot": 2900}

const (
	loyalPoints     = 40
	discountPercent = 10
)

// PlaceOrder says that a customer wants something.
type PlaceOrder struct {
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// Receipt is an order that was accepted; amounts are in cents.
type Receipt struct {
	Order  string `json:"order"`
	Paid   int    `json:"paid"`
	Saved  int    `json:"saved"`
	Points int    `json:"points"`
}

// Orders takes orders, gives loyal customers a discount, and tells everybody.
type Orders struct {
	client client.Client
}

// Place accepts an order.
func (o *Orders) Place(ctx context.Context, order *PlaceOrder, receipt *Receipt) error {
	price, ok := prices[order.Item]
	if !ok {
		return errors.NotFound("orders", "we do not sell '%s'", order.Item)
	}
	if order.Quantity < 1 || order.Quantity > 100 {
		return errors.BadRequest("orders", "quantity: it must be from 1 to 100")
	}
	var balance Balance
	request := o.client.NewRequest("points", "Points.Balance", &Customer{Name: order.Customer})
	// Not with ctx: go-micro would send the headers of this call along with the next.
	if err := o.client.Call(context.Background(), request, &balance); err != nil {
		return err
	}
	total := price * order.Quantity
	if balance.Points >= loyalPoints {
		receipt.Saved = total * discountPercent / 100
	}
	receipt.Order = uuid.New().String()
	receipt.Paid = total - receipt.Saved
	receipt.Points = receipt.Paid / 100
	event := &OrderCreated{
		Order: receipt.Order, Customer: order.Customer, Item: order.Item,
		Quantity: order.Quantity, Paid: receipt.Paid, Points: receipt.Points,
	}
	return o.client.Publish(context.Background(), o.client.NewMessage(topic, event))
}
