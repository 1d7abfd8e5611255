package nodes

import (
	"fmt"

	"skep/providers"
)

// hoursAMonth is what providers reckon a month at.
const hoursAMonth = 730

// billing is what machines cost in an hour.
func billing(all []providers.Machine) float64 {
	sum := 0.0
	for _, m := range all {
		sum += m.HourlyUSD
	}
	return sum
}

func dollars(hourly float64) string {
	return fmt.Sprintf("$%.4f an hour, $%.2f a month", hourly, Monthly(hourly))
}

// Monthly is what a price for an hour comes to in a month.
func Monthly(hourly float64) float64 { return hourly * hoursAMonth }

// Quote says what machines that are to be made will cost; "" is nothing.
func Quote(specs []providers.Spec) string {
	sum, priced := 0.0, 0
	for _, s := range specs {
		if s.HourlyUSD > 0 {
			priced++
		}
		sum += s.HourlyUSD
	}
	if priced == 0 {
		return ""
	}
	if priced == 1 {
		return "a machine for " + dollars(sum)
	}
	return fmt.Sprintf("%d machines for %s", priced, dollars(sum))
}
