"""How many tasks arrive: counted, and forecast."""

from fairlead.demand.forecast import DemandForecaster, Forecast

__all__ = ["DemandForecaster", "Forecast"]
