package cmd

import (
	"encoding/json"
	"net/netip"

	"skep/probe"
	"skep/usage"

	"github.com/spf13/cobra"
)

// probeCommand is what runs on nodes that have just joined.
func (s *skep) probeCommand() *cobra.Command {
	c := group("probe", "Prove that data gets from node to node (started by nodes create)",
		&cobra.Command{
			Use: "serve", Short: "Answer other probes, and make transfers to them", Args: takes(0, 0), Example: "  skep probe serve",
			RunE: func(c *cobra.Command, _ []string) error { return probe.Serve(c.Context()) },
		},
		&cobra.Command{
			Use: "mtu ADDRESS…", Short: "Measure how large packets may be on the way to addresses", Args: takes(1, -1), Example: "  skep probe mtu 192.0.2.1",
			RunE: func(c *cobra.Command, args []string) error {
				var addresses []netip.Addr
				for _, arg := range args {
					a, err := netip.ParseAddr(arg)
					if err != nil {
						return usage.Errorf("%q is no address", arg)
					}
					addresses = append(addresses, a.Unmap())
				}
				found, err := probe.PathMTUs(c.Context(), addresses)
				if err != nil {
					return err
				}
				return json.NewEncoder(s.Out).Encode(found)
			},
		})
	c.Hidden = true
	return c
}
