package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

const longestKey = 127

// encodeKey makes a primary key a string that sorts as ReQL sorts the values: arrays, booleans, numbers, pseudo-types,
// strings.
func encodeKey(value any) (string, error) {
	key, err := appendKey(nil, value)
	if err == nil && len(key) > longestKey {
		err = logicError("Primary key too long (max %d characters): %s", longestKey, printed(value))
	}
	return string(key), err
}

func appendKey(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case bool:
		if v {
			return append(b, "Bt"...), nil
		}
		return append(b, "Bf"...), nil
	case float64:
		bits := math.Float64bits(v + 0) // -0 is 0
		if v < 0 {
			bits = ^bits
		} else {
			bits |= 1 << 63
		}
		return binary.BigEndian.AppendUint64(append(b, 'N'), bits), nil
	case string:
		return append(append(b, 'S'), v...), nil
	case []any:
		b = append(b, 'A')
		for _, one := range v {
			item, err := appendKey(nil, one)
			if err != nil {
				return nil, err
			}
			// Zero bytes end an item, so those inside are marked.
			b = append(b, strings.ReplaceAll(string(item), "\x00", "\x00\xff")...)
			b = append(b, 0, 1)
		}
		return b, nil
	case map[string]any:
		switch v[pseudoType] {
		case "TIME":
			return appendKey(append(b, "PT"...), v["epoch_time"])
		case "BINARY":
			return appendKey(append(b, "PB"...), v["data"])
		}
	}
	return nil, logicError("Primary keys must be either a number, string, bool, pseudotype or array (got type %s):\n%s",
		typeName(value), printed(value))
}

func typeName(value any) string {
	switch v := value.(type) {
	case nil:
		return "NULL"
	case bool:
		return "BOOL"
	case float64:
		return "NUMBER"
	case string:
		return "STRING"
	case []any:
		return "ARRAY"
	case map[string]any:
		if kind, ok := v[pseudoType]; ok {
			return fmt.Sprintf("PTYPE<%v>", kind)
		}
		return "OBJECT"
	case *stream:
		return "SELECTION<STREAM>"
	case *row:
		return "SELECTION<OBJECT>"
	case table:
		return "TABLE"
	case database:
		return "DATABASE"
	}
	return fmt.Sprintf("%T", value)
}
