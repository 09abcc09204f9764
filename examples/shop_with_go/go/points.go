package main

import (
	"context"
	"os"
	"strconv"
	"sync"

	"github.com/micro/go-micro/v2/server"
)

// Customer is whose points are asked for.
type Customer struct {
	Name string `json:"name"`
}

// Balance is a customer's points, and for how many orders they were awarded.
type Balance struct {
	Customer string `json:"customer"`
	Points   int    `json:"points"`
	Orders   int    `json:"orders"`
}

// Nothing is a request without content.
type Nothing struct{}

// Totals is what has been awarded so far, and how many times by which process.
type Totals struct {
	Awards    int            `json:"awards"`
	Points    int            `json:"points"`
	ByProcess map[string]int `json:"by_process"`
}

// OrderCreated is the event of an accepted order.
type OrderCreated struct {
	Order    string `json:"order"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
	Paid     int    `json:"paid"`
	Points   int    `json:"points"`
}

// Points awards points for every order, and tells balances.
type Points struct {
	mu       sync.Mutex
	balances map[string]Balance
	seen     map[string]bool
	points   int
}

func addPoints(srv server.Server) error {
	points := &Points{balances: map[string]Balance{}, seen: map[string]bool{}}
	award := func(_ context.Context, event *OrderCreated) error {
		points.award(event)
		return nil
	}
	queue := server.SubscriberQueue("points")
	if err := srv.Subscribe(srv.NewSubscriber(topic, award, queue)); err != nil {
		return err
	}
	return srv.Handle(srv.NewHandler(points))
}

// award counts an order once, however often its event comes.
func (p *Points) award(event *OrderCreated) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[event.Order] {
		return
	}
	p.seen[event.Order] = true
	balance := p.balances[event.Customer]
	balance.Points += event.Points
	balance.Orders++
	p.balances[event.Customer] = balance
	p.points += event.Points
}

// Balance tells a customer's points.
func (p *Points) Balance(_ context.Context, customer *Customer, balance *Balance) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	*balance = p.balances[customer.Name]
	balance.Customer = customer.Name
	return nil
}

// Totals tells what was awarded so far.
func (p *Points) Totals(_ context.Context, _ *Nothing, totals *Totals) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	totals.Awards = len(p.seen)
	totals.Points = p.points
	totals.ByProcess = map[string]int{strconv.Itoa(os.Getpid()): len(p.seen)}
	return nil
}
